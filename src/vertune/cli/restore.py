"""`vertune restore`: makes an empty home of a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 5)


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `vertune backup` wrote.")],
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Make an empty folder the home that a backup contains.

    With --database, an empty PostgreSQL database is filled instead of a file in the home.
    """
    from vertune.core.artifact import Home
    from vertune.steps.backup import restore

    where = Home(home)
    restore(file, where, database)
    output.note(f"{output.relative(where.folder)} is restored.", style="")
    output.next_steps("vertune serve")
