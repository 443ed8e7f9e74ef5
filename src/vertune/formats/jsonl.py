"""JSON lines: one object for each label, with the fields of the task; for every task, and without any loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.task import Task
from vertune.formats import _rows


class Jsonl(Format):
    """Format of JSON lines; it has no options."""

    media_type: ClassVar[str] = _rows.JSON_LINES
    suffix: ClassVar[str] = ".jsonl"

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield one line for each label."""
        self.check(task)
        return _rows.json_lines(_rows.flat(task, row) for row in rows)
