"""`vertune compare`: a paired test of two models or reports; knows nothing of how the test works."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vertune.cli import options, output


def run(
    first: Annotated[str, typer.Argument(metavar="A", help="A model (its newest report is taken) or a report.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one, measured on the same rows.")],
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Say whether model B answers better than model A.

    Shows the difference of every metric with its paired bootstrap 95 % interval.
    """
    from vertune.core.artifact import Home
    from vertune.steps.compare import compare
    from vertune.steps.remove import find

    place = Home(home)
    result = compare(find(place, first), find(place, second))
    if json:
        output.as_json(result)
        return
    output.facts({"A": result["a"], "B": result["b"], "rows": result["units"]})
    output.say()
    output.table(["metric", "A", "B", "B - A", "95 % interval", "better"], [_row(name, entry) for name, entry in result["metrics"].items()])
    output.say()
    output.say(result["metrics"].get(result["goal"], {}).get("sentence", ""))


def _row(name: str, entry: dict[str, Any]) -> list[Any]:
    difference = entry["difference"]
    interval = "" if difference.get("low") is None else f"{difference['low']:+.4f} – {difference['high']:+.4f}"
    shown = "" if difference.get("value") is None else f"{difference['value']:+.4f}"
    winner = entry.get("winner")
    return [name, entry.get("a"), entry.get("b"), shown, interval, winner.upper() if winner else "neither for sure"]
