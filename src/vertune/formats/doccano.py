"""doccano: JSON lines with a text and its labels, which the web tool imports; whatever else is in a line becomes its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.records import TargetType
from vertune.core.task import Task
from vertune.formats import _rows


class Doccano(Format):
    """Format of doccano; it has no options."""

    media_type: ClassVar[str] = _rows.JSON_LINES
    suffix: ClassVar[str] = ".jsonl"
    targets: ClassVar[frozenset[TargetType]] = frozenset({"label", "labels", "spans"})
    single_text: ClassVar[bool] = True

    def columns(self, task: Task) -> dict[str, str]:
        """Return the columns of the rows that are read again."""
        return _rows.columns(task)

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield one line for each label."""
        self.check(task)
        return _rows.json_lines(_line(task, row) for row in rows)


def _line(task: Task, row: Labelled) -> dict[str, Any]:
    target = _rows.target_of(task)
    if target.type == "spans":
        label: list[Any] = [[span["start"], span["end"], span["label"]] for span in row.target[target.name]]
    else:
        label = _rows.choices(row, target)
    return {"text": row.record[_rows.text_of(task).name], "label": label, **_rows.about(row)}
