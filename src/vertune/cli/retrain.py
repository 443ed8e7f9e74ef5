"""`vertune retrain`: trains a candidate for a vertical on feedback, labels and files, and lets the gate judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact
    from vertune.steps.retrain import Retrained

PANEL = ("Serve models", 8)
_SHOWN = 5
"""Number of labels that are printed, those that changed most."""


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the vertical.")],
    on: Annotated[
        str, typer.Option("--on", metavar="LIST", help="New rows: feedback, labels:PROJECT and files, divided by commas.")
    ] = "feedback",
    how: Annotated[str, typer.Option("--how", help="Start from the live model (warm), the pretrained one (scratch), or auto.")] = "auto",
    replace: Annotated[
        list[str] | None, typer.Option("--replace", metavar="OLD=NEW", help="Replace a label that is no longer used. Can be repeated.")
    ] = None,
    go_live: Annotated[bool, typer.Option("--go-live", help="Make the new model live if it passes the gate.")] = False,
    home: options.Home = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Train on new rows, and compare with the live model.

    Rows that could poison the model are held back and listed for review. The command ends with exit code 7 if the new model fails the
    gate, or with --go-live also if the gate can't tell.
    """
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.errors import ModelError
    from vertune.steps.retrain import Request, retrain
    from vertune.steps.retrain.sources import parse_sources

    store = Home(home)
    request = Request(parse_sources(on, name, None if database else store.folder), _way(how), _labels(replace or []))
    with show_progress("retrain", quiet=json) as progress:
        done = retrain(name, store, request, progress=progress)
    if json:
        output.as_json(_content(done))
    else:
        show(done)
    if done.verdict == "pass":
        _go_on(name, done, go_live, (home, database), quiet=json)
    elif done.verdict == "fail" or go_live:
        raise ModelError(
            f"The model {done.model.id} was stored, but the gate did not let it pass: {done.report.manifest['headline']} Read the report "
            f"in {output.relative(done.report.folder)}, or train in another way: vertune retrain {name} --how scratch"
        )


def show(done: Retrained) -> None:
    """Print what became of the new rows, what was forgotten, and the verdict of the gate."""
    from vertune.steps.retrain import HELD

    manifest = done.dataset.manifest
    output.table(["new rows", "number"], [[outcome, count] for outcome, count in manifest["assembled"].items()])
    if manifest["held"]:
        output.note(f"{manifest['held']:,} rows were held back for review: {output.relative(done.dataset.folder / HELD)}", "yellow")
    output.say()
    chosen, found = done.model.manifest["chosen"], done.model.manifest["forgetting"]
    output.facts({"model": done.model.id, "why": chosen.get("retrained") or chosen.get("why") or ""})
    output.say()
    labels = sorted(found["labels"], key=lambda entry: entry["change"])
    rows = [*found["slices"], *labels[:_SHOWN]]
    if rows:
        output.table([f"{found['metric']} on {found['split']} rows", "rows", "live", "new", "change"], [_row(entry) for entry in rows])
        output.say()
    if done.compression:
        output.facts({"compression": done.compression})
    output.facts({"gate": done.report.manifest["headline"], "report": output.relative(done.report.folder / "report.html")})


def _row(entry: dict[str, Any]) -> list[Any]:
    return [entry["name"], entry["rows"], entry["before"], entry["after"], f"{entry['change']:+.4f}"]


def _content(done: Retrained) -> dict[str, Any]:
    """Return what `--json` prints."""
    manifest, model, report = (one.manifest for one in (done.dataset, done.model, done.report))
    return {
        "live": done.live.id, "dataset": done.dataset.id, "model": done.model.id, "report": done.report.id, "verdict": done.verdict,
        "headline": report["headline"], "labels_needed": report["labels_needed"], "rows": manifest["assembled"], "held": manifest["held"],
        "compression": done.compression or None, "chosen": model["chosen"], "forgetting": model["forgetting"],
    }  # fmt: skip


def _go_on(name: str, done: Retrained, go_live: bool, where: tuple[Any, str | None], quiet: bool) -> None:
    """Make the new model live if that was asked for, or print how to."""
    if not go_live:
        if not quiet:
            output.next_steps(f"vertune deploy {name} {done.model.id} --canary 10%", f"vertune deploy {name} {done.model.id}")
        return
    from vertune.steps.deploy import Versions

    with options.opened(*where) as (home, database):
        target: Artifact = Versions(home, database, "command line").deploy(name, done.model.id, f"it passed the gate: {done.report.id}")
    if not quiet:
        output.note(f"{name}@live points to {target.id}.", style="")
        output.next_steps(f"vertune history {name}", f"vertune rollback {name}")


def _way(how: str) -> Any:
    """Return the way of training; raise UnknownName for another word."""
    from typing import get_args

    from vertune.core.errors import UnknownName
    from vertune.steps.retrain.dataset import How

    if how not in get_args(How):
        raise UnknownName("way", how, get_args(How))
    return how


def _labels(replace: list[str]) -> dict[str, str]:
    """Parse `OLD=NEW` pairs; raise ConfigError for another text."""
    from vertune.core.errors import ConfigError

    pairs = [text.partition("=") for text in replace]
    for text, (old, equals, new) in zip(replace, pairs, strict=True):
        if not (old and equals and new):
            raise ConfigError(f"--replace was given '{text}'; expected OLD=NEW. Write for example --replace refund=money_back")
    return {old: new for old, _, new in pairs}
