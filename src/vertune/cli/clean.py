"""`vertune clean`: frees the space of what came to nothing; knows nothing of how that is found."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output


def run(
    unused: Annotated[bool, typer.Option("--unused", help="Also delete every dataset, model and report that no alias needs.")] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    home: options.Home = None,
) -> None:
    """Delete runs that failed or were stopped.

    They can't be resumed after that. What an alias points to stays.
    """
    from vertune.core.artifact import Home
    from vertune.steps.clean import clean

    freed = clean(Home(home), unused, dry)
    if not freed:
        output.say("Nothing to clean.")
        return
    output.table(["id", "size", "why"], [[item.id, output.size(item.size), item.why] for item in freed])
    total = output.size(sum(item.size for item in freed))
    output.say(f"{total} would be free" if dry else f"{total} free")
