"""`vertune share`: prepares models so that one process can serve them.

Models that were fine-tuned from the same pretrained model then share one copy of it in memory.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 2)


def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help="Models to serve together.", show_default="all live models")
    ] = None,
    home: options.Home = None,
) -> None:
    """Prepare models for serving from one process.

    Models that were fine-tuned from the same pretrained model share one copy of it, called a backbone, where this is
    possible. Every other model gets its own ONNX graph.
    """
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.errors import ModelError, NotFound
    from vertune.core.sentence import stored, written
    from vertune.runtime.fleet import Fleet
    from vertune.steps.share import make_servable

    store = Home(home)
    fleet = Fleet(store)
    models = [store.get("models", name) for name in names] if names else list(fleet.live().values())
    if not models:
        raise NotFound(
            f"No alias NAME@live points to a model in {store.folder}. Choose a model: vertune alias NAME@live MODEL; "
            "or train one: vertune fit RUN.yaml"
        )
    with show_progress("share") as progress:
        reasons = make_servable(models, store, progress)
    reasons |= fleet.follow({model.id: model for model in models if model.id not in reasons})
    rows = [
        [entry.model.id, entry.precision, "shared" if entry.shared else "own graph", written(stored(entry.why), "en")]
        for entry in fleet.deployments.values()
    ]
    output.table(["model", "precision", "backbone", "reason"], rows)
    if reasons:
        raise ModelError(" ".join(f"{id} can't be served: {why}" for id, why in reasons.items()))
    if sys.stdout.isatty():  # not when `vertune serve` runs this command
        output.next_steps("vertune serve")
