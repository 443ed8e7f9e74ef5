"""`vertune evaluate`: measures a model and simple baselines on labelled rows, and prints their metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact

PANEL = ("From a file to a model", 5)


def run(
    model: options.Model,
    split: options.Split = "test",
    data: Annotated[Path | None, typer.Option("--data", help="A file with labelled records to use instead of a split.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="COLUMN", help="The column of --data with the text; for a pair, write it twice, in order."),
    ] = None,
    label: Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="The column of --data with the right answer.")] = None,
    tests: Annotated[
        Path | None, typer.Option("--tests", help="Behaviour tests to run; see `vertune check`.", show_default="the saved ones")
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Measure a model and compare it with simple baselines."""
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.errors import ConfigError
    from vertune.steps.evaluate import evaluate
    from vertune.steps.predict import Inputs, read_labelled

    if data is None and (text or label):
        raise ConfigError(
            "--text and --label need --data: they name columns of a file. Name the file: "
            f"vertune evaluate {model} --data rows.csv --text COLUMN --label COLUMN"
        )
    store = Home(home)
    artifact = store.get("models", model)
    with show_progress("evaluate", quiet=json) as progress:
        frame = read_labelled(data, Inputs.of(artifact), text or [], label) if data else None
        report = evaluate(artifact, store, split, progress, frame, tests=tests)
    show(report, json)
    if not json:
        advise(report)


def show(report: Artifact, json: bool = False) -> None:
    """Print the model's metrics with their 95 % intervals, those of the baselines, and the report's path.

    With `json`, print the content of the report's metrics.json instead.
    """
    from vertune.core.files import read_json

    measured = read_json(report.folder / "metrics.json")
    if json:
        output.as_json(measured)
        return
    metrics: dict[str, Any] = measured["metrics"]
    baselines: dict[str, dict[str, Any]] = measured["baselines"]
    output.table(
        ["metric", "model", "95 % interval", *baselines],
        [
            [name, _value(value), _interval(value), *(_value(baseline.get(name)) for baseline in baselines.values())]
            for name, value in metrics.items()
        ],
    )
    failed = [test["name"] for test in measured.get("tests") or () if not test["passed"]]
    if "tests" in measured:
        output.say(
            f"{len(measured['tests']) - len(failed)} of {len(measured['tests'])} behaviour tests passed.", "bold red" if failed else ""
        )
    for text in measured["notes"]:
        output.note(text, "yellow")
    output.say()
    output.facts({"report": output.relative(report.folder / "report.html")})


def advise(report: Artifact) -> None:
    """Print what to do with the model, with the figures behind it: green to use it, yellow to get more rows, red to use a baseline."""
    from vertune.core.files import read_json
    from vertune.reports.verdict import verdict

    advice = verdict(read_json(report.folder / "metrics.json"))
    output.note(" ".join(text for text in (advice.headline, advice.reason, advice.more) if text), _COLOURS[advice.tone])


_COLOURS = {"good": "green", "warn": "yellow", "bad": "bold red"}
"""Maps the tone of a verdict to the style in which it is printed."""


def _value(entry: Any) -> float | None:
    """Return the value of a metric: `entry` is this value, or a dict with the keys `value`, `low` and `high`."""
    value = entry.get("value") if isinstance(entry, dict) else entry
    return float(value) if value is not None else None


def _interval(entry: Any) -> str:
    """Format the confidence interval of a metric, from `low` to `high`; an empty string if the metric has none."""
    if not isinstance(entry, dict) or entry.get("low") is None:
        return ""
    return f"{entry['low']:.4f} – {entry['high']:.4f}"
