"""`vertune forget`: deletes what the server stored of a text, a vertical, a key, a customer or a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 6)


def run(
    text: Annotated[str | None, typer.Option("--text", help="A text, exactly as it was sent.", show_default="any")] = None,
    vertical: Annotated[str | None, typer.Option("--vertical", help="The name of a vertical (model).", show_default="any")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The id of an API key.", show_default="any")] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="The name of a customer.", show_default="any")] = None,
    older_than: Annotated[str | None, typer.Option("--older-than", metavar="TIME", help="Such as 24h or 90d.", show_default="any")] = None,
    keep_feedback: Annotated[bool, typer.Option("--keep-feedback", help="Delete no feedback.")] = False,
    uploads: Annotated[bool, typer.Option("--uploads", help="With --text: also delete uploads with it, and what was made.")] = False,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Delete what the server stored of a text or a customer.

    Answers, requests, feedback, labels, uploads and jobs are deleted for good: those to which all given options apply, with the
    predictions, datasets and reports that jobs made. A text is found although it is stored masked or not at all; uploads that contain it,
    and models trained on it, are only listed, unless --uploads is given. --customer alone deletes its users and labelling projects, too.
    Counted usage stays. The audit tells what was deleted, without the text.
    """
    from vertune.server.searching import searcher
    from vertune.steps.forget import forget
    from vertune.store.deletion import Deletion

    before = None if older_than is None else datetime.now(UTC) - options.parse_duration(older_than)
    records = () if text is None else [{"text": text}]
    wanted = Deletion(vertical, key, customer, before, records, feedback=not keep_feedback, uploads=uploads)
    wanted.conditions()
    with options.opened(home, database) as (where, opened):
        found = forget(where, opened, wanted, "command line", searcher(opened, where.folder))
    output.facts({name: f"{count:,} deleted" for name, count in found.deleted.items()})
    for kind, ids in found.remaining.items():
        output.say(f"{kind} that remain: {', '.join(ids)}")
    if "tests" in found.remaining:
        output.note("Take the text out of these behaviour tests, then save them again: vertune check NAME tests.yaml --save")
    if found.unread:
        output.say(f"uploads that could not be searched: {', '.join(found.unread)}")
    if text is not None and not uploads and found.remaining:
        output.note("These contain the text, or were made of what does. Delete them: vertune forget --text TEXT --uploads")
    elif found.remaining:
        output.note("Jobs end within seconds: repeat the command. Delete the others, once nothing needs them: vertune remove ID")
