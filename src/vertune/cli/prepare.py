"""`vertune prepare`: makes the dataset of a config; knows nothing of how rows are read or split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact


def run(config: options.Run, set: options.Set = None, home: options.Home = None) -> None:
    """Read, check and split the records.

    Nothing is dropped silently: rejected rows go to a file, each with its reason.
    """
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.config import load
    from vertune.steps.prepare import prepare

    settings = load(config, set or [])
    with show_progress("prepare") as progress:
        dataset = prepare(settings, Home(home), progress)
    show(dataset)
    output.next_steps(f"vertune train {output.relative(config)}")


def show(dataset: Artifact) -> None:
    """The dataset as a newcomer reads it: how many rows went where, and the report."""
    rows = dataset.manifest.get("rows", {})
    output.facts(
        {
            "dataset": dataset.id,
            "rows": ", ".join(f"{name} {count:,}" for name, count in rows.items() if count),
            "rejected": output.relative(dataset.folder / "rejected.jsonl") if rows.get("rejected") else None,
            "report": output.relative(dataset.folder / "report.html"),
        }
    )
