"""Definitions of arguments and options that several commands use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vertune.core.artifact import Home as HomeFolder
    from vertune.store.database import Database as ServerDatabase

Run = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The config of a model; `vertune init DATA` writes one.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model: its name, an alias (name@live), an id, or a folder.")]
Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="VERTUNE_HOME", help="The folder with all datasets, models and reports.", show_default=".vertune"),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="VERTUNE_DATABASE",
        help="A PostgreSQL database of the server.",
        show_default="a file in the home",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one value of the config, such as training.epochs=3. Can be repeated."),
]
RequireSigned = Annotated[
    Path | None,
    typer.Option("--require-signed", metavar="PUBLIC_KEY", help="Refuse models that were not signed with this key; see `vertune sign`."),
]
AnotherTask = Annotated[
    bool, typer.Option("--another-task", help="Even if it has another task than the live model, or reads other fields.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Split = Annotated[str, typer.Option("--split", help="The split of the model's dataset to measure on: train, validation or test.")]


@contextmanager
def opened(home: Path | None, database: str | None) -> Iterator[tuple[HomeFolder, ServerDatabase]]:
    """Open the server's database for a command, and yield the home and the database, which is closed afterwards.

    `home` and `database` are the values of the options with these names. Raises StorageError if the database can't be used.
    """
    from vertune.core.artifact import Home as HomeFolder
    from vertune.store.database import Database as ServerDatabase

    where = HomeFolder(home)
    found = ServerDatabase.of_home(where.folder, database)
    try:
        yield where, found
    finally:
        found.close()


_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d{1,6})([mhd])")


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as 30m, 24h or 90d (minutes, hours, days); raise ConfigError for any other text."""
    from vertune.core.errors import ConfigError

    match = _DURATION.fullmatch(text)
    if not match:
        raise ConfigError(
            f"The duration is '{text}'; expected a whole number followed by m (minutes), h (hours) or d (days). "
            "Write, for example, 30m, 24h or 90d."
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
