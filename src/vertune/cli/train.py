"""`vertune train`: trains the model that a config describes on its dataset, and prints the validation metrics."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from pathlib import Path

    from vertune.core.artifact import Artifact, Home
    from vertune.core.config import Config

PANEL = ("From a file to a model", 4)


def run(
    config: options.Run,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run that was stopped or killed.")] = False,
    set: options.Set = None,
    home: options.Home = None,
) -> None:
    """Train a model on the prepared dataset.

    If no dataset was prepared with this config and these files yet, it is prepared first.
    """
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.config import load
    from vertune.learning import team
    from vertune.steps.fit import prepared
    from vertune.steps.train import train

    settings = load(config, set or [])
    place = Home(home)
    with show_progress("train", quiet=not team.is_leader()) as progress:
        dataset = prepared(settings, place, progress, resume)
        with stoppable(settings, place, config, set):
            model = train(settings, dataset, place, progress, resume)
    if not team.is_leader():
        return
    show(model)
    output.next_steps(f"vertune evaluate {settings.name}", f'vertune predict {settings.name} "a text"')


@contextmanager
def stoppable(settings: Config, home: Home, config: Path, changes: Sequence[str] | None) -> Iterator[None]:
    """If Ctrl-C interrupts the training in the `with` block, print the command that resumes it.

    The command contains the path of the config and the same `--set` options (`changes`).
    """
    from vertune.core.config import is_same

    try:
        yield
    except KeyboardInterrupt:
        if any(
            run.manifest_or_empty.get("step") == "train" and is_same(run.manifest_or_empty.get("asked"), settings) for run in home.runs()
        ):
            sets = "".join(f" --set {shlex.quote(change)}" for change in changes or ())
            output.next_steps(f"vertune train {shlex.quote(output.relative(config))} --resume{sets}")
        raise


def show(model: Artifact) -> None:
    """Print the model's id, training method, validation metrics and size, and why `method: auto` chose the method."""
    from vertune.core.files import folder_size
    from vertune.reports.tried import tried

    manifest = model.manifest
    validation = manifest.get("metrics", {}).get("validation", {})
    method = manifest["config"].get("method")
    output.facts(
        {
            "model": model.id,
            "method": method.get("name") if isinstance(method, dict) else method,
            "chosen": _reason(manifest.get("chosen")),
            "validation": ", ".join(f"{name} {value:.4f}" for name, value in validation.items() if isinstance(value, (int, float))) or None,
            "trained": f"{manifest['trained']:,} parameters" if "trained" in manifest else None,
            "size": output.size(folder_size(model.folder)),
            "card": output.relative(model.folder / "README.md"),
        }
    )
    found = tried(manifest.get("chosen"))
    if found:
        output.say()
        output.table(found.header, found.cells)
        output.note(f"{found.about} To choose another: --set method=head, --set method=full or --set companion=none")


def _reason(chosen: object) -> str | None:
    """Return a text with the reason why `method: auto` chose the training method.

    `chosen` is the entry of the model's manifest about this choice. Returns None if the config names a method itself.
    """
    return str(chosen["why"]) if isinstance(chosen, dict) and chosen.get("why") else None
