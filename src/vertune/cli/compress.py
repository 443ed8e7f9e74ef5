"""`vertune compress`: makes a smaller, faster model from a trained one, and prints how much accuracy it lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact

PANEL = ("Use a model", 2)


def run(
    model: options.Model,
    set: options.Set = None,
    accept: Annotated[bool, typer.Option("--accept", help="Accept the result even if there are too few labelled rows to decide.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a killed compression from its checkpoints.")] = False,
    home: options.Home = None,
) -> None:
    """Make a model smaller and faster, and check its accuracy.

    The methods of compression are those of `compress.chain` in the model's config, by default only int8. Choose others
    with --set 'compress.chain=[{name: distill, layers: 3}, int8]'.
    """
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.steps.compress import CompressOptions, compress

    store = Home(home)
    with show_progress("compress") as progress:
        compressed = compress(store.get("models", model), store, set or [], progress, CompressOptions(accept, resume))
    show(compressed)


def show(model: Artifact) -> None:
    """Print the accuracy, speed and size after each method of compression, and the final model's id and report."""
    from vertune.core.files import folder_size

    manifest = model.manifest
    goal, candidates = manifest["gate"]["goal"], manifest["candidates"]
    first = next(iter(candidates[0]["measured"]["latency"]))
    rows = [
        [
            candidate["name"],
            candidate["metrics"][goal],
            -candidate["loss"],
            f"{1000 * candidate['measured']['latency'][first]:.2f}",
            round(candidate["measured"]["throughput"]),
            output.size(candidate["bytes"]),
            candidate["verdict"],
        ]
        for candidate in candidates
    ]
    output.table(["after", goal, "change", f"ms per text of {first} tokens", "texts/s", "graph", "gate"], rows)
    output.say()
    report = output.relative(model.folder / "report.html")
    output.facts({"model": model.id, "size": output.size(folder_size(model.folder)), "gate": candidates[-1]["why"], "report": report})
    name = manifest["name"]
    output.next_steps(f"vertune evaluate {model.id}", f"vertune alias {name}@live {model.id}")
