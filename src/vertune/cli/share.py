"""`vertune share`: makes models ready to be served by one process; knows nothing of backbones or graphs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vertune.cli import options, output


def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models to be served together.", show_default="all that are live")
    ] = None,
    home: options.Home = None,
) -> None:
    """Make models ready to be served by one process.

    They stand on one backbone where they can share it, else each on a graph of its own.
    """
    from vertune.cli.progress import watching
    from vertune.core.artifact import Home
    from vertune.core.errors import ModelError, NotFound
    from vertune.runtime.fleet import Fleet
    from vertune.steps.share import make_servable

    place = Home(home)
    fleet = Fleet(place)
    models = [place.get("models", name) for name in names] if names else list(fleet.live().values())
    if not models:
        raise NotFound(
            f"No model of {place.folder} is live. Say which shall be: vertune alias NAME@live MODEL; or train one: vertune fit RUN.yaml"
        )
    with watching("share") as progress:
        troubles = make_servable(models, place, progress)
    fleet.follow({model.id: model for model in models if model.id not in troubles})
    rows = [[one.model.id, one.precision, "shared" if one.shared else "alone", one.why] for one in fleet.deployments.values()]
    output.table(["model", "precision", "backbone", "why"], rows)
    if troubles:
        raise ModelError(" ".join(f"{id} can't be served: {why}" for id, why in troubles.items()))
    if sys.stdout.isatty():  # not where `vertune serve` itself runs this
        output.then("vertune serve")
