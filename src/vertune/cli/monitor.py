"""`vertune monitor`: says what has changed in the requests to a model since a reference, and writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact
    from vertune.steps.monitor import Plan

PANEL = ("Look around", 3)


def run(
    model: options.Model,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A log of requests in place of those that a server stored.")] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="What requests are compared with: validation, or SINCE..UNTIL.", show_default="validation"),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option("--window", help="Requests that are compared at a time: a number, or a time such as 1d.", show_default="500"),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="ROLE=COLUMN", help="A column of the log, such as time=ts. Can be repeated.")
    ] = None,
    set: options.Set = None,
    home: options.Home = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Say what has changed in the requests to a model."""
    from contextlib import nullcontext

    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.files import read_json
    from vertune.steps.monitor import monitor

    where = Home(home)
    artifact = where.get("models", model)
    plan = _plan(artifact, reference, window, set or [])
    names = dict(_pair(text) for text in column or [])
    with show_progress("monitor") as progress, nullcontext((where, file)) if file else options.opened(home, database) as (_, source):
        report = monitor(artifact, where, plan, source, names, progress=progress)
    found = read_json(report.folder / "findings.json")
    if json:
        output.as_json(found)
        return
    output.facts({"report": report.id, "requests": found["requests"], "windows": found["windows"], "reference": found["reference"]})
    output.say()
    output.table(["monitor", "verdict", "value", "what it says"], [_row(one) for one in found["monitors"]])
    for note in found["notes"]:
        output.note(note, "yellow")
    output.next_steps(f"open {output.relative(report.folder / 'report.html')}")


def _plan(model: Artifact, reference: str | None, window: str | None, settings: list[str]) -> Plan:
    """Return how requests are compared: as the config of the model says, and as the options of the command change it."""
    from vertune.core.config import override
    from vertune.core.parse import build
    from vertune.core.watch import Watch
    from vertune.steps.monitor import Plan

    written = dict((model.manifest.get("config") or {}).get("watch") or {})
    written |= {} if reference is None else {"reference": reference}
    written |= {} if window is None else {"window": int(window) if window.isdecimal() else window}
    return Plan.of(build(Watch, override({"watch": written}, settings)["watch"], "watch"))


def _pair(text: str) -> tuple[str, str]:
    """Return the role and the column that an option names; raise ConfigError for another text."""
    from vertune.core.errors import ConfigError

    role, equals, name = text.partition("=")
    if not equals or not role or not name:
        raise ConfigError(f"--column was given '{text}'; expected ROLE=COLUMN. Write it as in this example: --column time=created_at")
    return role.strip(), name.strip()


def _row(one: dict[str, Any]) -> list[Any]:
    last = one["windows"][-1]
    verdict = "changed" if one["confirmed"] else "changed once" if one["verdict"] == "changed" else one["verdict"]
    return [one["name"], verdict, last["value"], one["why"]]
