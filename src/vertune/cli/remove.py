"""`vertune remove`: deletes datasets, models, reports and runs by their ids."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Free space", 1)


def run(
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID", help="An id as `vertune list` shows it. A name is not accepted, because several artifacts can share it."
        ),
    ],
    home: options.Home = None,
) -> None:
    """Delete datasets, models, reports or runs by their ids.

    A model that an alias points to can't be deleted, and neither can anything that a running command needs.
    """
    from vertune.core.artifact import Home
    from vertune.steps.remove import remove

    store = Home(home)
    for id in ids:
        freed = remove(store, id)
        output.say(f"removed {id}, {output.size(freed)} freed")
