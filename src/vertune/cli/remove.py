"""`vertune remove`: deletes artifacts by their ids; knows nothing of what they hold."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output


def run(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="What `vertune list` shows; a bare name is refused, because it may mean several.")
    ],
    home: options.Home = None,
) -> None:
    """Delete artifacts by their ids.

    What an alias points to is refused.
    """
    from vertune.core.artifact import Home
    from vertune.steps.remove import remove

    place = Home(home)
    for wanted in ids:
        freed = remove(place, wanted)
        output.say(f"removed {wanted}, {output.size(freed)} free")
