"""`vertune promote`: makes the candidate of a vertical live."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 8)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the vertical.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")] = "",
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Make the candidate of a vertical live."""
    from vertune.steps.deploy import Versions

    with options.opened(home, database) as (where, opened):
        live = Versions(where, opened, "command line").promote(name, reason)
    output.note(f"{name}@live points to {live}.", style="")
