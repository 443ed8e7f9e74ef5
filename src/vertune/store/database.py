"""Opens the server's database, a SQLite file or a PostgreSQL server, and runs transactions; independent of what the tables contain.

SQLite writes to a log beside its file (WAL mode), so that a long read stops no write. While a server runs, the database therefore
consists of three files: copy it with `vertune backup`, and not by hand.
"""

from __future__ import annotations

import os
import secrets as random
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, case, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool

from vertune.core.errors import ConfigError, MissingExtra, StorageError, Unavailable
from vertune.core.files import storage_errors
from vertune.core.regular import is_present, regular_file
from vertune.store import schema

FILE = "server.db"
"""File name of the SQLite database in the home folder (.vertune)."""
VARIABLE = "VERTUNE_DATABASE"
"""The environment variable with the URL of a PostgreSQL database, which is used instead of the file in the home folder."""
BUSY_TIMEOUT = 5.0
"""Seconds for which a transaction waits while another process holds the lock of the database."""
_RESERVE = 128 << 10
"""Size in bytes of the file that is deleted to make room for an urgent write when the disk is full."""
_LOW_SPACE = 2 << 20
"""Free bytes on the disk below which it counts as full."""
_CONNECT_TIMEOUT = 3
"""Seconds for which a connection to PostgreSQL is attempted."""
_STATEMENT_TIMEOUT = 60
"""Seconds after which PostgreSQL ends a statement."""
_MIGRATION_WAIT = 120.0
"""Seconds to wait for another process that migrates the database."""
HOW_TO_RESTORE = "Restore a backup, or move the file away and create new keys: vertune key create NAME --scope predict"


def format_time(time: datetime) -> str:
    """Return a time in UTC as the text that the tables contain; the texts have the same order as the times."""
    return time.isoformat(timespec="microseconds")


def insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT statement that can have an ON CONFLICT clause, in the dialect of the database."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def without_index(conditions: Sequence[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Return the conditions as one for which no index is used, where the database would choose a worse index than that of others."""
    return [case((and_(*conditions), 1), else_=0) == 1] if conditions else []


class Database:
    """The database of one server or of several; safe for use from many threads and processes."""

    def __init__(self, location: Path | str) -> None:
        """`location` is the path of a SQLite file, which is created if it does not exist, or the URL of a PostgreSQL database.

        A database of an older version is migrated. Raises StorageError if the database is damaged, locked or not writable, or was
        written by a newer version; ConfigError if the URL is not valid; MissingExtra if the driver of PostgreSQL is not installed.
        """
        self.file = location if isinstance(location, Path) else None
        self.url = None if isinstance(location, Path) else location
        self.writable = True
        self._opening = threading.Lock()
        self._wait = threading.local()
        """The seconds for which the connection that this thread opens waits for locks."""
        self._held: sqlite3.Connection | None = None
        if self.file is None:
            self._engine = _server_engine(str(location))
            self.name = f"The database {self._engine.url.render_as_string(hide_password=True)}"
        else:
            self.name = f"The database {self.file}"
            self._prepare_file(self.file)
            self._identities = self._identify()
            self._engine = _file_engine(partial(self._connect, self.file))
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise
        self.renew_reserve()

    @classmethod
    def of_home(cls, folder: Path, url: str | None = None) -> Database:
        """Open the database at a URL of PostgreSQL, or without one the SQLite file in a home folder (.vertune).

        Without the argument `url`, the environment variable VERTUNE_DATABASE sets the URL. Raises StorageError if a link or a folder is
        in place of the file.
        """
        url = url or os.environ.get(VARIABLE)
        return cls(url or file_in(folder))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        if self._held is not None:
            self._held.close()
            self._held = None

    def hold(self) -> None:
        """Keep a connection open until `close`, so that SQLite does not copy its log into the file after every transaction."""
        if self.file is not None and self.writable:
            self._held = self._connect(self.file)

    @contextmanager
    def reading(self, wait: float | None = None) -> Iterator[Connection]:
        """Run the `with` block in a transaction that reads; all its queries see the same state of the database.

        `wait` is the time in seconds to wait for the locks of other processes; None means `BUSY_TIMEOUT`.
        """
        with self._transaction(wait, immediate=False) as connection:
            yield connection

    @contextmanager
    def writing(self, wait: float | None = None) -> Iterator[Connection]:
        """Run the `with` block in a transaction that writes; it is on the disk after the block, and has no effect if the block raises."""
        with self._transaction(wait, immediate=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, wait: float | None, immediate: bool) -> Iterator[Connection]:
        try:
            self._wait.seconds = BUSY_TIMEOUT if wait is None else wait
            options: dict[str, Any] = {"immediate": immediate}
            if self.file is None and not immediate:
                options["isolation_level"] = "REPEATABLE READ"
            with self._engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except SQLAlchemyError as error:
            raise self._storage_error(error) from error

    def empty_log(self) -> None:
        """Copy the log of SQLite into the file, and empty it: the log contains rows that were deleted.

        If other processes read for longer than `BUSY_TIMEOUT`, the log stays until SQLite writes over it.
        """
        if self.file is not None and self.writable:
            with closing(self._connect(self.file)) as connection, suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def make_room(self) -> bool:
        """Delete the file that reserves space for urgent writes, and return whether there was one; `renew_reserve` writes it again."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def trouble(self) -> str:
        """Return why the database can't be written at the moment, for everybody to see; empty if it can be, as far as that is known.

        A server that can't be reached is noticed by those who use it.
        """
        if self.file is None:
            return ""
        if not self.writable:
            return "the disk of the database is read-only"
        try:
            free = shutil.disk_usage(self.file.parent).free
        except OSError as error:
            return f"the disk of the database can't be read: {error.strerror}"
        return f"the disk of the database is full: {free >> 10} KiB are free" if free < _LOW_SPACE else ""

    # ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _reserve(self) -> Path:
        file = self.file or Path(FILE)
        return file.with_name(f"{file.name}-reserve")

    @property
    def _log_files(self) -> tuple[Path, Path]:
        """The write-ahead log of SQLite and its index, which exist while a process has the database open."""
        assert self.file is not None
        return self.file.with_name(f"{self.file.name}-wal"), self.file.with_name(f"{self.file.name}-shm")

    def _prepare_file(self, file: Path) -> None:
        """Create the file and its folder if they are missing; only the owner may read the file."""
        with storage_errors(file):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))
        with suppress(OSError):  # on a read-only disk, where nobody can be kept from reading it
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                file.chmod(0o600)

    def _connect(self, file: Path) -> sqlite3.Connection:
        """Open a connection to the SQLite file, without implicit transactions.

        Raises StorageError if the file was removed, or replaced while the log of the previous one is still there.
        """
        with self._opening:
            self._check_identity(file)
            self.writable = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
            # mode=rw creates no file; only `immutable` reads a database in WAL mode on a read-only disk
            mode = "mode=rw" if self.writable else "mode=ro" if _size(self._log_files[0]) else "mode=ro&immutable=1"
            connection = sqlite3.connect(
                f"{file.absolute().as_uri()}?{mode}", uri=True, timeout=getattr(self._wait, "seconds", BUSY_TIMEOUT), isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
            try:
                if self.writable:
                    if not _size(file):  # later, it has no effect and waits for locks
                        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                    _write_ahead(connection)
                connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, however SQLite was built
                connection.execute("PRAGMA synchronous = FULL")  # a transaction that is finished survives a loss of power
            except BaseException:
                connection.close()
                raise
            return connection

    def _identify(self) -> tuple[tuple[int, int] | None, ...]:
        assert self.file is not None
        return (_identity(self.file), *map(_identity, self._log_files))

    def _check_identity(self, file: Path) -> None:
        """Raise StorageError if the file is missing, or is another one while the log of the previous one is still there.

        A restored backup replaces the file. SQLite would apply the log to the new file.
        """
        identities = self._identify()
        if identities[0] is None:
            raise Unavailable(f"The database {file} was removed while in use. Put the file back.")
        if identities[0] != self._identities[0] and identities[1] is not None and identities[1] == self._identities[1]:
            log, index = self._log_files
            raise Unavailable(
                f"The database {file} was replaced while in use, but the write-ahead log of the previous one is still there; SQLite would "
                f"apply it to the new one. Stop all processes that use the database, and delete {log.name} and {index.name}."
            )
        self._identities = identities

    def renew_reserve(self) -> None:
        """Write the file that reserves space for urgent writes, if it is missing and there is space."""
        if self.file is None or not self.writable or self._reserve.exists():
            return
        try:
            descriptor = os.open(self._reserve, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as reserve:
                reserve.write(random.token_bytes(_RESERVE))  # zeros would take no space on some disks
        except OSError:
            with suppress(OSError):
                self._reserve.unlink()

    # ── Migration ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _migrate(self) -> None:
        """Bring the tables to the last revision; a database without any gets all tables."""
        with self.reading() as connection:
            revision = _revision(connection)
        if revision == schema.REVISION:
            return
        if not self.writable:
            raise StorageError(
                f"{self.name} has the format of another version, and can't be migrated, because its disk is read-only. Make it writable."
            )
        with self.writing(_MIGRATION_WAIT) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # the index of a large table takes as long as it takes
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_MIGRATION_WAIT * 1000:.0f}")
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7688277)")  # any number that no other program uses
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {BUSY_TIMEOUT * 1000:.0f}")
            if _revision(connection) != schema.REVISION:  # no other process was faster
                _upgrade(connection, self.name)

    def _storage_error(self, error: SQLAlchemyError) -> StorageError:
        """Convert an error of SQLAlchemy to a StorageError whose message contains advice on how to fix the problem."""
        cause = error.orig if isinstance(error, StatementError) else error  # the other one quotes what was to be stored
        if self.file is None:
            reason = str(cause).strip().partition("\n")[0]
            return Unavailable(f"{self.name} can't be used: {reason}. Check that the server runs and that the user may write there.")
        return self._file_error(cause)

    def _file_error(self, cause: BaseException | None) -> StorageError:
        code = sqlite_code(cause)
        if code in _LOCKED:
            return Unavailable(f"{self.name} is locked by another process, which did not finish in time. Stop that process, or try again.")
        if code == sqlite3.SQLITE_READONLY:
            return Unavailable(f"{self.name} can't be changed, because its disk is read-only. Make the disk writable.")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return StorageError(f"The file {self.file} is damaged or not a database of vertune: {cause}. {HOW_TO_RESTORE}")
        return Unavailable(f"{self.name} can't be used: {cause}. Check that its folder is writable and the disk not full.")


_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def file_in(folder: Path) -> Path:
    """Return the path of the database in a home folder, whether or not it exists; raise StorageError if a link or a folder is there."""
    return regular_file(folder, FILE) if is_present(folder, FILE) else folder / FILE


def sqlite_code(error: BaseException | None) -> int:
    """Return the primary error code of SQLite; 0 if the error has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the upper bits hold the extended code


def _identity(file: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, which change if the file is replaced; None if it does not exist."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let SQLite write to a log beside its file; if another process is just opening the file too, that process will see to it."""
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if sqlite_code(error) not in _LOCKED:
            raise


def _size(file: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _file_engine(connect: Any) -> Engine:
    """Return an engine for a SQLite file; each transaction has a connection of its own, which takes a tenth of a millisecond to open."""
    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # a write takes its lock at the beginning, because a lock that is missed in the middle of a transaction can't be waited for
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("immediate") else "BEGIN")

    return engine


def _server_engine(url: str) -> Engine:
    """Return an engine for a PostgreSQL database."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        shown = f"{scheme[:20]}://…" if separator else "without a scheme"  # the rest may contain a password
        raise ConfigError(
            f"The URL of the database is {shown}; expected one of PostgreSQL. Write it in the form "
            "postgresql://USER:PASSWORD@HOST:5432/vertune."
        )
    try:
        return sqlalchemy.create_engine(
            f"postgresql+psycopg://{rest}", pool_pre_ping=True, pool_size=5, max_overflow=10, pool_timeout=BUSY_TIMEOUT,
            hide_parameters=True,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT, "application_name": "vertune",
                # so that a server that can't be reached any more is noticed within some seconds
                "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000,
                "options": f"-c statement_timeout={_STATEMENT_TIMEOUT * 1000} -c lock_timeout={BUSY_TIMEOUT * 1000:.0f}",
            },
        )  # fmt: skip
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            "The URL of the database can't be read. Write for example postgresql://USER:PASSWORD@HOST:5432/vertune; special characters in "
            "a password must be percent-encoded."
        ) from error
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise MissingExtra("A PostgreSQL database", "postgres", "psycopg") from error


def _revision(connection: Connection) -> str | None:
    """Return the revision of the tables; None if there are none that a migration made."""
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _upgrade(connection: Connection, name: str) -> None:
    """Run all migrations that the tables have not had yet, within the transaction of a connection."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "vertune.store:migrations")
    config.set_main_option("path_separator", "os")
    try:
        command.upgrade(config, schema.REVISION)
    except CommandError as error:
        raise StorageError(
            f"{name} was written by a newer version of vertune, which has migrated its tables. Install that version: pip install -U vertune"
        ) from error
