"""`vertune prepare`: makes a dataset from the files that a config names, and prints the size of each split."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact, Progress

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
        warned = Warned(progress)
        dataset = prepare(settings, Home(home), warned)
    show(dataset, warned.messages)
    output.next_steps(f"vertune train {output.relative(config)}")


class Warned:
    """A callback for the progress of a step that passes all events on, and remembers the warnings, which stay on the screen."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.messages: set[str] = set()

    def __call__(self, kind: str, **fields: Any) -> None:
        """Pass an event on; `kind` is its name, and a `warning` has a `message`."""
        if kind == "warning":
            self.messages.add(str(fields.get("message", "")))
        if self.progress is not None:
            self.progress(kind, **fields)


def show(dataset: Artifact, warned: Collection[str] = ()) -> None:
    """Print the number of rows of each split, notes on dropped and changed rows, and the path of the report.

    `warned` are the warnings that have been printed already; a note that is one of them is left out.
    """
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
    sentences = [Note(**note).sentence for note in manifest.get("notes", ())]
    notes = [sentence for sentence in sentences if sentence not in warned]
    for sentence in notes[:_NOTES]:
        output.note(f"  {sentence}")
    if len(notes) > _NOTES:
        output.note(f"  {len(notes) - _NOTES} more notes are in the report.")
