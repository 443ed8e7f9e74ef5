"""`vertune rollback`: ends the comparison with a candidate, or lets the model be live again that was live before."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 9)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the vertical.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")] = "",
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Take back a candidate, or else the live model."""
    from vertune.steps.deploy import Versions

    with options.opened(home, database) as (where, opened):
        ended, live = Versions(where, opened, "command line").roll_back(name, reason)
    output.note(f"{ended} was taken back; {name}@live points to {live}.", style="")
