"""`vertune history`: lists which model of a vertical was live when, by whom and why."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 10)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the vertical.")],
    home: options.Home = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """List which model was live or candidate, when and why."""
    from vertune.core.sentence import written
    from vertune.store.rollouts import history

    with options.opened(home, database) as (_, opened), opened.reading() as connection:
        found = [replace(one, reason=written(one.reason, "en")) for one in history(connection, name)]
    if json:
        output.as_json([asdict(one) for one in found])
        return
    if not found:
        output.note(f"The database contains no change of '{name}' yet.")
        output.next_steps(f"vertune deploy {name} MODEL")
        return
    rows = [[one.at[:16].replace("T", " "), one.action, one.model, one.previous, one.actor, one.reason] for one in found]
    output.table(["time in UTC", "action", "model", "before", "by", "reason"], rows)
