"""`vertune backup`: copies a home and the database of its server into one file, while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 4)


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Copy a home and the server's database into one file.

    Models, datasets and reports are in it. A running server answers meanwhile. Keep the file as secret as the database: only its owner
    may read it.
    """
    from vertune.steps.backup import backup

    with options.opened(home, database) as (where, opened):
        size = backup(where, opened, file)
    output.note(f"{output.size(size)} are in {output.relative(file)}.", style="")
    output.next_steps(f"vertune restore {output.relative(file)} --home NEW_FOLDER")
