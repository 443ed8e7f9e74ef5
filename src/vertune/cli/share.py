"""`vertune share`: prepares models to be served by one process; knows nothing of backbones or graphs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vertune.cli import options, output


def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="The models to prepare.", show_default="all that are live")
    ] = None,
    home: options.Home = None,
) -> None:
    """Prepare models to be served by one process.

    Models that can share a backbone are put on one; each other model gets a graph of its own.
    """
    from vertune.cli.progress import watching
    from vertune.core.artifact import Home
    from vertune.core.errors import ModelError, NotFound
    from vertune.runtime.fleet import Fleet
    from vertune.steps.share import make_ready

    where = Home(home)
    fleet = Fleet(where)
    models = [where.get("models", name) for name in names] if names else list(fleet.live().values())
    if not models:
        raise NotFound(f"No model of {where.folder} is live. Choose one: vertune alias NAME@live MODEL; or train one: vertune fit RUN.yaml")
    with watching("share") as progress:
        errors = make_ready(models, where, progress)
    fleet.follow({model.id: model for model in models if model.id not in errors})
    rows = [[one.model.id, one.precision, "shared" if one.shared else "alone", one.why] for one in fleet.deployments.values()]
    output.table(["model", "precision", "backbone", "why"], rows)
    if errors:
        raise ModelError(" ".join(f"{id} can't be served: {error}" for id, error in errors.items()))
    if sys.stdout.isatty():  # not where `vertune serve` itself runs this
        output.then("vertune serve")
