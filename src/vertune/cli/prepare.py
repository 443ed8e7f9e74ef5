"""`vertune prepare`: makes a dataset from the files that a config names, and prints the size of each split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact

PANEL = ("From a file to a model", 3)

_NOTES = 12
"""Maximum number of notes that are printed; the report has all of them."""


def run(config: options.Run, set: options.Set = None, home: options.Home = None) -> None:
    """Read, clean, check and split the records.

    The output and the report contain the number of dropped rows and of changed rows. Each dropped row is also listed in
    rejected.jsonl.
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
    """Print the number of rows of each split, notes on dropped and changed rows, and the path of the report."""
    from vertune.core.language import listed
    from vertune.core.records import Note

    manifest = dataset.manifest
    rows = manifest.get("rows", {})
    output.facts(
        {
            "dataset": dataset.id,
            "rows": ", ".join(f"{name} {count:,}" for name, count in rows.items() if count),
            "added": f"{manifest['added']:,} of the training rows" if manifest.get("added") else None,
            "language": listed(manifest["language"]["shares"]) if manifest.get("language") else None,
            "base": manifest.get("encoder", {}).get("base"),
            "rejected": output.relative(dataset.folder / "rejected.jsonl") if rows.get("rejected") else None,
            "report": output.relative(dataset.folder / "report.html"),
        }
    )
    notes = [Note(**note) for note in manifest.get("notes", ())]
    for note in notes[:_NOTES]:
        output.note(f"  {note.sentence}")
    if len(notes) > _NOTES:
        output.note(f"  {len(notes) - _NOTES} more notes are in the report.")
