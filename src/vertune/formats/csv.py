"""CSV, which spreadsheets open: one row for each label; lists of labels, spans and answers are cells with JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.task import Task
from vertune.formats import _rows

_MARK = "\ufeff"
"""Shows Excel that the file is UTF-8."""


class Csv(Format):
    """Format of tables with commas; it has no options."""

    media_type: ClassVar[str] = "text/csv"
    suffix: ClassVar[str] = ".csv"

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield a header and one row for each label; a value that is not known is an empty cell."""
        self.check(task)
        return _rows.pieces(_lines(task, rows))


def _lines(task: Task, rows: Sequence[Labelled]) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in _rows.flat(task, row)))
    names = names or [column.name for column in task.columns if column.required]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    yield _MARK
    writer.writerow(names)
    for row in rows:
        cells = _rows.flat(task, row)
        writer.writerow([_cell(cells.get(name)) for name in names])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _rows.as_json(value) if isinstance(value, (list, tuple, dict)) else value
