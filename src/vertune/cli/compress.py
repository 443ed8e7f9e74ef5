"""`vertune compress`: a smaller and faster model with proof of what it keeps; knows nothing of how models shrink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact


def run(
    model: options.Model,
    set: options.Set = None,
    accept: Annotated[bool, typer.Option("--accept", help="Take a result of which validation can't tell what it lost.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what a killed compression had learnt.")] = False,
    home: options.Home = None,
) -> None:
    """Make a model smaller and faster, with proof.

    The chain is `compress.chain` of the model's config, int8 by default: --set compress.chain='[{name: distill, layers: 3}, int8]'.
    """
    from vertune.cli.progress import watching
    from vertune.core.artifact import Home
    from vertune.steps.compress import CompressOptions, compress

    place = Home(home)
    with watching("compress") as progress:
        made = compress(place.get("models", model), place, set or [], progress, CompressOptions(accept, resume))
    show(made)


def show(model: Artifact) -> None:
    """What each step gave, and what the model is now."""
    from vertune.core.files import folder_size

    manifest = model.manifest
    goal, candidates = manifest["gate"]["goal"], manifest["candidates"]
    first = next(iter(candidates[0]["measured"]["latency"]))
    rows = [
        [
            one["name"],
            one["metrics"][goal],
            -one["loss"],
            f"{1000 * one['measured']['latency'][first]:.2f}",
            round(one["measured"]["throughput"]),
            output.size(one["bytes"]),
            one["verdict"],
        ]
        for one in candidates
    ]
    output.table(["step", goal, "change", f"ms a text of {first}", "texts/s", "graph", "gate"], rows)
    output.say()
    report = output.near(model.folder / "report.html")
    output.facts({"model": model.id, "size": output.size(folder_size(model.folder)), "gate": candidates[-1]["why"], "report": report})
    name = manifest["name"]
    output.then(f"vertune evaluate {model.id}", f"vertune alias {name}@live {model.id}")
