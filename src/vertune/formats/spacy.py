"""spaCy: a JSON list of pairs of a text and its annotations, which `spacy.training.Example.from_dict` takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.records import TargetType
from vertune.core.task import Task
from vertune.formats import _rows


class Spacy(Format):
    """Format of spaCy; it has no options."""

    media_type: ClassVar[str] = "application/json"
    suffix: ClassVar[str] = ".json"
    targets: ClassVar[frozenset[TargetType]] = frozenset({"label", "labels", "spans"})
    single_text: ClassVar[bool] = True

    def columns(self, task: Task) -> dict[str, str]:
        """Return the columns of the rows that are read again."""
        return _rows.columns(task)

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield one pair for each label; what else is known about a label has no place in this form and is left out.

        Raises DataError for spans that overlap, because entities must not.
        """
        self.check(task)
        labels = dict.fromkeys([*task.known_labels, *_used(task, rows)])
        return _rows.json_list([_pair(task, row, labels) for row in rows])


def _used(task: Task, rows: Sequence[Labelled]) -> Iterator[str]:
    """Yield the labels that records have, of a task whose answers are labels of whole records."""
    target = _rows.target_of(task)
    return (label for row in rows for label in _rows.choices(row, target)) if target.type != "spans" else iter(())


def _pair(task: Task, row: Labelled, labels: dict[str, Any]) -> list[Any]:
    target = _rows.target_of(task)
    text = row.record[_rows.text_of(task).name]
    if target.type == "spans":
        spans = _rows.apart(row, text, row.target[target.name])
        return [text, {"entities": [[span["start"], span["end"], span["label"]] for span in spans]}]
    chosen = set(_rows.choices(row, target))
    return [text, {"cats": {label: float(label in chosen) for label in labels}}]
