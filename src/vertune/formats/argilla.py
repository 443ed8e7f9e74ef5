"""Argilla 2: a JSON list of records with fields and responses, as `dataset.records.from_json` reads it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.records import TargetType
from vertune.core.task import Task
from vertune.formats import _rows


class Argilla(Format):
    """Format of Argilla; it has no options."""

    media_type: ClassVar[str] = "application/json"
    suffix: ClassVar[str] = ".json"
    targets: ClassVar[frozenset[TargetType]] = frozenset({"label", "labels", "spans"})
    texts_only: ClassVar[bool] = True

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield one record for each label.

        Argilla knows annotators by ids of its own, so each gets one that is made of the name, and the name itself is metadata.
        """
        self.check(task)
        return _rows.json_list(_record(task, row, place) for place, row in enumerate(rows))


def _record(task: Task, row: Labelled, place: int) -> dict[str, Any]:
    target = _rows.target_of(task)
    value = row.target[target.name]
    if target.type == "spans":
        value = [{"start": span["start"], "end": span["end"], "label": span["label"]} for span in value]
    user = str(uuid.uuid5(uuid.NAMESPACE_URL, row.annotator or ""))
    number = place if row.number is None else row.number
    fields = {column.name: row.record[column.name] for column in task.input_columns if row.record.get(column.name) is not None}
    return {
        "id": str(number) if row.annotator is None else f"{number}:{row.annotator}", "fields": fields, "metadata": _rows.about(row),
        "suggestions": {}, "responses": {target.name: [{"value": value, "user_id": user}]}, "vectors": {}, "status": "completed",
    }  # fmt: skip
