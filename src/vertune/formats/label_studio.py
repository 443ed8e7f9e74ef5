"""Label Studio: a JSON list of tasks, each with the annotations of all its annotators, which the tool imports."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.records import Column, ColumnType, TargetType
from vertune.core.task import Task
from vertune.formats import _rows


class LabelStudio(Format):
    """Format of Label Studio; it has no options."""

    media_type: ClassVar[str] = "application/json"
    suffix: ClassVar[str] = ".json"
    targets: ClassVar[frozenset[TargetType]] = frozenset({"label", "labels", "spans", "number"})

    def columns(self, task: Task) -> dict[str, str]:
        """Return the columns of the rows that are read again."""
        target = _rows.target_of(task)
        names = {column.name: column.name for column in task.columns}
        return names if target.type != "spans" else {**names, task.marked_input: "text", target.name: "spans"}

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield one task for each record; rows with the same number that follow each other are annotations of the same record.

        The offsets of spans are written in UTF-16 units, as the tool counts them. A label has the seconds (`lead_time`), the annotator,
        and whether a reviewer decided (`ground_truth`).
        """
        self.check(task)
        return _rows.json_list(_task(task, labels, place) for place, labels in enumerate(_rows.by_record(rows)))


def _task(task: Task, labels: Sequence[Labelled], place: int) -> dict[str, Any]:
    record = labels[0].record
    data = {column.name: record[column.name] for column in task.columns if record.get(column.name) is not None}
    about = {} if labels[0].number is None else {"labelled_record": labels[0].number}
    return {"data": {**data, **about}, "annotations": [_annotation(task, row, place) for row in labels]}


def _annotation(task: Task, row: Labelled, place: int) -> dict[str, Any]:
    target = _rows.target_of(task)
    text = task.marked_input if target.type == "spans" else task.input_columns[0].name
    results = [
        {"id": uuid.uuid5(uuid.NAMESPACE_URL, f"{place}/{row.annotator}/{number}").hex[:10], "from_name": target.name, "to_name": text,
         "type": kind, "value": value}
        for number, (kind, value) in enumerate(_KINDS[target.type](row, target, str(row.record.get(text) or "")))
    ]  # fmt: skip
    found: dict[str, Any] = {"result": results, "was_cancelled": False, "ground_truth": row.decision}
    known = {"lead_time": row.seconds, "created_username": row.annotator, "created_at": row.at}
    return found | {name: value for name, value in known.items() if value is not None}


def _choices(row: Labelled, target: Column, text: str) -> list[tuple[str, Any]]:
    return [("choices", {"choices": _rows.choices(row, target)})]


def _number(row: Labelled, target: Column, text: str) -> list[tuple[str, Any]]:
    return [("number", {"number": row.target[target.name]})]


def _regions(row: Labelled, target: Column, text: str) -> list[tuple[str, Any]]:
    return [
        ("labels", {"start": _units(text, span["start"]), "end": _units(text, span["end"]),
                    "text": text[span["start"] : span["end"]], "labels": [span["label"]]})
        for span in row.target[target.name]
    ]  # fmt: skip


def _units(text: str, place: int) -> int:
    """Convert an offset in code points to UTF-16 units."""
    return len(text[:place].encode("utf-16-le")) // 2


_KINDS: dict[ColumnType, Callable[[Labelled, Column, str], list[tuple[str, Any]]]] = {
    "label": _choices, "labels": _choices, "number": _number, "spans": _regions,
}  # fmt: skip
