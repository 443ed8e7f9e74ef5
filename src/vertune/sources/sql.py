"""Results of a query to any database that SQLAlchemy supports.

Passwords are never written into a config, into the manifest of a dataset (its description on disk) or into a log. Instead, the URL
names an environment variable, as in `postgresql://reader:${DB_PASSWORD}@host/tickets`. Its value is read when the query runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import polars as pl
from pydantic import field_validator

from vertune.core.errors import ConfigError, DataError, MissingExtra, NoRows, StorageError, first_line
from vertune.core.kinds import Source
from vertune.sources import _table

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PASSWORD = re.compile(
    r"://[^:/@\s]*:(?P<password>.+)@|(?:[?&;]|%3B)(?:password|passwd|pwd|token|secret)(?:=|%3D)(?P<option>(?:(?!%3B)[^&;])+)", re.IGNORECASE
)


class Sql(Source):
    """Source that reads the result of a database query; the fields below are its options."""

    url: str
    """The SQLAlchemy URL of the database; `${NAME}` is replaced by the environment variable NAME, the only way to pass a password."""
    query: str
    """The SQL query; the columns of its result become the columns of the dataset."""

    @field_validator("url")
    @classmethod
    def _no_password(cls, value: str) -> str:
        if "://" not in _REFERENCE.sub("x://", value):
            raise ConfigError(
                "The option 'url' has no '://', but a SQLAlchemy URL is expected. Write for example sqlite:///tickets.db or "
                "postgresql://user:${DB_PASSWORD}@host/name."
            )
        for match in _PASSWORD.finditer(value):
            if not _REFERENCE.fullmatch(match["password"] or match["option"]):
                raise ConfigError(
                    "The url of the source 'sql' contains a password, which would be stored with the dataset. Put the password into an "
                    "environment variable, and write the name of the variable instead: postgresql://user:${DB_PASSWORD}@host/name."
                )
        return value

    def read(self) -> pl.DataFrame:
        """Run the query and return all rows of its result, with the column types of the database.

        Raises StorageError if the database can't be reached, ConfigError for a wrong URL or query, DataError if there are no rows.
        """
        try:
            import sqlalchemy
        except ImportError as error:
            raise MissingExtra("Reading from a database", "sql", "sqlalchemy") from error
        with _translated_errors(self), self._engine(sqlalchemy).connect() as connection:
            frame = pl.read_database(sqlalchemy.text(self.query), connection, infer_schema_length=None)
        if frame.is_empty():
            raise NoRows(f"The query to {self.url} returned no rows, but at least one is needed. Check its conditions.")
        return _table.marked(frame, self.url)

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write an SQLite database with three labelled texts and return the source that reads it."""
        import sqlite3

        with closing(sqlite3.connect(folder / "rows.db")) as connection, connection:
            connection.execute("create table tickets (text text, label text)")
            connection.executemany("insert into tickets values (?, ?)", _table.SAMPLE)
        return cls(url=f"sqlite:///{folder / 'rows.db'}", query="select text, label from tickets order by text")

    def _engine(self, sqlalchemy: Any) -> Any:
        return sqlalchemy.create_engine(_with_environment(self.url), poolclass=sqlalchemy.pool.NullPool, hide_parameters=True)


def _with_environment(url: str) -> str:
    """Replace each `${NAME}` in the URL by the value of this environment variable; raise ConfigError if the variable is not set.

    Values are percent-encoded, because special characters of a password would change the meaning of the URL. Only a value at the start
    of the URL is inserted unchanged, because it may be a complete URL.
    """
    from urllib.parse import quote

    def value(reference: re.Match[str]) -> str:
        name = reference[1]
        if name not in os.environ:
            raise ConfigError(
                f"The url of the source 'sql' names the environment variable {name}, which is not set. Set this variable and run again."
            )
        return os.environ[name] if reference.start() == 0 else quote(os.environ[name], safe="")

    return _REFERENCE.sub(value, url)


@contextmanager
def _translated_errors(source: Sql) -> Iterator[None]:
    """Convert errors of SQLAlchemy and of database drivers, raised in a `with` block, to errors of vertune.

    The messages contain `***` instead of the values of environment variables. The original error is not attached (`from None`), because
    its message can contain the password.
    """
    import sqlalchemy.exc as errors

    try:
        yield
    except (errors.NoSuchModuleError, ModuleNotFoundError, errors.ArgumentError) as error:
        raise ConfigError(
            _phrase(source, "Can't use the url", error) + " Check the url, and install the driver of the database with pip."
        ) from None
    except errors.ProgrammingError as error:
        raise ConfigError(_phrase(source, "The database refused the query", error) + " Check the option 'query'.") from None
    except errors.OperationalError as error:
        if re.search(r"no such (table|column)|syntax error", str(error.orig)):  # SQLite raises this class for a wrong query too
            raise ConfigError(_phrase(source, "The database refused the query", error) + " Check the option 'query'.") from None
        raise StorageError(
            _phrase(source, "The database can't be reached", error) + " Check the url, and that the database runs."
        ) from None
    except (errors.SQLAlchemyError, pl.exceptions.PolarsError) as error:
        raise DataError(_phrase(source, "The query returned no table", error) + " Check the option 'query'.") from None


def _phrase(source: Sql, what: str, error: Exception) -> str:
    """Format an error message from `what`, the URL of the source, and the reason that the database gave.

    Values of environment variables are replaced by `***`, because they can be passwords.
    """
    reason = first_line(getattr(error, "orig", None) or error)
    for name in _REFERENCE.findall(source.url):
        reason = reason.replace(os.environ.get(name) or "\0", "***")
    return f"{what} of {source.url}: {reason}."
