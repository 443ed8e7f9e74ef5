"""Locates the wrong answers of an evaluation in the files that their rows came from, and writes them as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from vertune.core.records import Record

MARKS = ("__file", "__row")
"""The entries of a record that name the file it came from, and the number of its row in this file."""
LISTED = 50
"""Maximum number of wrong answers in metrics.json and on the page of a report; the CSV file contains all of them."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet reads a cell that begins with one of these characters as a formula."""


def locate(errors: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the wrong answers with the place of each row in the data: `__file` and `__row`, the row's number in this file.

    `errors` is the entry `errors` of a task's `details`; its `row` is the index in `records`. The order is not changed. A
    record whose source is not known gets neither entry.
    """
    return [{**_place(records[int(error["row"])]), **error} for error in errors]


def _place(record: Record) -> dict[str, Any]:
    """Return the file of a record and the row's number in it, as far as they are known."""
    return {name: record[name] for name in MARKS if record.get(name) is not None}


def as_csv(errors: Sequence[Mapping[str, Any]], marks: Sequence[str] = MARKS) -> str:
    """Return the wrong answers, as `locate` returns them, as a table in CSV with a header.

    The columns are the file and the row in it (`marks`), the texts, and what was expected and answered. A text that a
    spreadsheet would run as a formula gets an apostrophe in front, because the texts may come from strangers.
    """
    names = [name for name in dict.fromkeys(name for error in errors for name in error) if name not in (*MARKS, "row")]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow([*(mark.strip("_") for mark in marks), *names])
    for error in errors:
        writer.writerow([_cell(error.get(name)) for name in (*marks, *names)])
    return table.getvalue()


def _cell(value: Any) -> Any:
    """Return a value as it is written into a cell: a list becomes one text, and a text is never a formula."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    if value is None or isinstance(value, (int, float)):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
