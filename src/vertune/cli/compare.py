"""`vertune compare`: tests whether one model is better than another, and prints the differences of their metrics."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vertune.cli import options, output

PANEL = ("Use a model", 4)


def run(
    first: Annotated[str, typer.Argument(metavar="A", help="A report, or a model (its newest report is used).")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another report or model, measured on the same rows.")],
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Test whether model B is better than model A.

    Shows the difference of every metric with its 95 % confidence interval (paired bootstrap).
    """
    from vertune.core.artifact import Home
    from vertune.steps.compare import compare
    from vertune.steps.remove import find

    store = Home(home)
    result = compare(find(store, first), find(store, second))
    if json:
        output.as_json(result)
        return
    output.facts({"A": result["a"], "B": result["b"], "rows": result["units"]})
    output.say()
    output.table(["metric", "A", "B", "B - A", "95 % interval", "better"], [_row(name, entry) for name, entry in result["metrics"].items()])
    output.say()
    output.say(result["metrics"].get(result["goal"], {}).get("sentence", ""))


def _row(name: str, entry: dict[str, Any]) -> list[Any]:
    """Return the table row of one metric: its values for A and B, their difference, its interval and the better model.

    `entry` is the entry of this metric in the result of the function `compare`.
    """
    difference = entry["difference"]
    interval = "" if difference.get("low") is None else f"{difference['low']:+.4f} – {difference['high']:+.4f}"
    shown = "" if difference.get("value") is None else f"{difference['value']:+.4f}"
    winner = entry.get("winner")
    return [name, entry.get("a"), entry.get("b"), shown, interval, winner.upper() if winner else "undecided"]
