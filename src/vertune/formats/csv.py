"""CSV, which spreadsheets open: one row for each label; lists of labels, spans and answers are cells with JSON.

A spreadsheet would run a text such as `=HYPERLINK(…)`, which may come from a stranger. By default, an apostrophe is put before it, and the
offsets in it are moved along.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.task import Task
from vertune.formats import _rows

_MARK = "\ufeff"
"""Shows Excel that the file is UTF-8."""


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins with one of these for a formula."""


class Csv(Format):
    """Options of the format of tables with commas."""

    media_type: ClassVar[str] = "text/csv"
    suffix: ClassVar[str] = ".csv"
    formulas: Literal["protect", "keep"] = "protect"
    """Whether a text that a spreadsheet would take for a formula gets an apostrophe before it (`protect`), or stays as it is (`keep`)."""

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield a header and one row for each label; a value that is not known is an empty cell."""
        self.check(task)
        return _rows.pieces(_lines([_rows.flat(task, row if self.formulas == "keep" else _protected(task, row)) for row in rows], task))


def _lines(table: Sequence[Mapping[str, Any]], task: Task) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in table for name in row)) or [column.name for column in task.columns if column.required]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    yield _MARK
    writer.writerow(names)
    for row in table:
        writer.writerow([_cell(row.get(name)) for name in names])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _protected(task: Task, row: Labelled) -> Labelled:
    """Return a row without formulas; places in a text that gets an apostrophe are one character further."""
    moved = _is_formula(row.record.get(task.marked_input))
    target = {name: [_moved(item) for item in value] if moved and isinstance(value, list) else value for name, value in row.target.items()}
    safe = {name: _safe(value) for name, value in row.record.items()}
    return replace(row, record=safe, target={name: _safe(value) for name, value in target.items()}, annotator=_safe(row.annotator))


def _moved(item: Any) -> Any:
    """Return a span or an accepted answer one character further; other items as they are."""
    if not isinstance(item, Mapping):
        return item
    return {name: value + 1 if name in ("start", "end") else value for name, value in item.items()}


def _safe(value: Any) -> Any:
    return f"'{value}" if _is_formula(value) else value


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_FORMULA)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _rows.as_json(value) if isinstance(value, (list, tuple, dict)) else value
