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
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Delete what the server stored of a text or a customer.

    Answers, requests and feedback are deleted for good: those to which all given options apply. A text is found although it is stored
    masked or not at all. Counted usage stays. The audit tells what was deleted, without the text.
    """
    from vertune.store.deletion import Deletion, carry_out

    before = None if older_than is None else datetime.now(UTC) - options.parse_duration(older_than)
    wanted = Deletion(vertical, key, customer, before, () if text is None else [{"text": text}], feedback=not keep_feedback)
    wanted.conditions()
    with options.opened(home, database) as (_, opened):
        deleted = carry_out(opened, wanted, "command line")
    output.facts({name: f"{count:,} deleted" for name, count in deleted.items()})
