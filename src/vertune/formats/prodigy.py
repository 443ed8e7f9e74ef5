"""Prodigy: JSON lines with a text and its accepted labels or spans, for `prodigy db-in`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.records import TargetType
from vertune.core.task import Task
from vertune.formats import _rows


class Prodigy(Format):
    """Format of Prodigy; it has no options."""

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
    text = row.record[_rows.text_of(task).name]
    who = {} if row.annotator is None else {"_annotator_id": row.annotator}
    when = {} if row.at is None else {"_timestamp": int(datetime.fromisoformat(row.at).timestamp())}
    rest = {"answer": "accept", **who, **when, "meta": _rows.about(row)}
    if target.type == "spans":
        spans = [{"start": span["start"], "end": span["end"], "label": span["label"]} for span in row.target[target.name]]
        return {"text": text, "spans": spans, **rest}
    chosen = _rows.choices(row, target)
    options = [{"id": label, "text": label} for label in dict.fromkeys([*task.known_labels, *chosen])]
    return {"text": text, "options": options, "accept": chosen, "config": {"choice_style": _STYLES[target.type]}, **rest}


_STYLES: dict[Any, str] = {"label": "single", "labels": "multiple"}
