"""`vertune gate`: decides whether a candidate may replace the live model, and prints the verdict with its checks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    import polars as pl

    from vertune.core.artifact import Artifact
    from vertune.core.artifact import Home as HomeFolder

PANEL = ("Use a model", 6)
_COLOURS = {"pass": "green", "fail": "bold red", "unknown": "yellow"}
_WORDS = {"pass": "passed", "fail": "FAILED", "unknown": "can't tell"}


def run(
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="The model that may go live: an id, a name or a folder.")],
    live: Annotated[str | None, typer.Option("--live", help="The model to compare with.", show_default="NAME@live")] = None,
    gold: Annotated[Path | None, typer.Option("--gold", help="Labelled rows.", show_default="test rows of the live model")] = None,
    new: Annotated[Path | None, typer.Option("--new", help="Labelled rows on which the candidate must be better.")] = None,
    probe: Annotated[
        Path | None, typer.Option("--probe", help="Texts without labels, to list those that are answered differently.")
    ] = None,
    traffic: Annotated[
        list[Path] | None,
        typer.Option("--traffic", help="Texts of traffic; only those answered differently need a label. Can be repeated."),
    ] = None,
    tests: Annotated[Path | None, typer.Option("--tests", help="Behaviour tests.", show_default="the saved ones")] = None,
    tolerance: Annotated[float, typer.Option("--tolerance", min=0.0, max=1.0, help="Allowed loss on gold rows.")] = 0.005,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Decide whether a candidate may replace the live model.

    The verdict is pass, fail, or can't tell, with the number of labels that would tell. The exit code is 0 for pass, 7
    for fail, and 3 for can't tell. Nothing goes live by this command: use vertune deploy.
    """
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.errors import DataError, ModelError
    from vertune.core.files import read_json
    from vertune.evaluation.release import Bounds
    from vertune.steps.gate import FILE, Terms, gate
    from vertune.steps.predict import Inputs, read_rows

    store = Home(home)
    model = store.get("models", candidate)
    other = store.get("models", live or f"{model.manifest['name']}@live")
    files = {name: file for name, file in (("gold", gold), ("new", new), ("probe", probe)) if file is not None}
    sets = {name: read_rows(file, Inputs.of(model)) for name, file in files.items()}
    if traffic:
        import polars as pl

        sets["traffic"] = pl.concat([read_rows(file, Inputs.of(model)) for file in traffic], how="diagonal_relaxed")
    if gold is None:
        sets = {"gold": _test_rows(other, store), **sets}
    with show_progress("gate", quiet=json) as progress:
        report = gate(model, other, store, sets, terms=Terms(Bounds(tolerance=tolerance), tests), progress=progress)
    if json:
        output.as_json(read_json(report.folder / FILE))
    else:
        show(report)
    verdict, headline = report.manifest["verdict"], report.manifest["headline"]
    if verdict == "fail":
        raise ModelError(f"{headline} Expected every check to pass. Look at {output.relative(report.folder / 'report.html')}.")
    if verdict == "unknown":
        raise DataError(f"{headline} Expected every check to pass. Look at {output.relative(report.folder / 'report.html')}.")


def _test_rows(model: Artifact, home: HomeFolder) -> pl.DataFrame:
    """Return the test rows of a model's dataset; raise DataError if there are none."""
    from vertune.core.errors import DataError, NotFound
    from vertune.data.dataset import of_model, read

    dataset = of_model(model.manifest, home)
    try:
        if dataset is not None:
            return read(dataset, "test")
    except NotFound:
        pass
    raise DataError(
        f"There are no test rows of {model.id} in {home.folder}; expected labelled rows that no model was trained on. "
        "Give some: vertune gate CANDIDATE --gold FILE"
    )


def show(report: Artifact) -> None:
    """Print the verdict, one line per check, and the path of the page."""
    from vertune.steps.gate import read_release

    release = read_release(report)
    output.say(release.headline, _COLOURS[release.verdict])
    output.say()
    output.table(["check", "verdict", "why"], [[check.name, _WORDS[check.verdict], check.why] for check in release.checks])
    output.say()
    output.facts({"report": output.relative(report.folder / "report.html")})
    if release.verdict == "pass":
        name, candidate = report.manifest["name"], report.parents[0]
        output.next_steps(f"vertune deploy {name} {candidate} --canary 10%", f"vertune deploy {name} {candidate}")
