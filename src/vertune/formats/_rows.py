"""What several formats share: flat rows, JSON lines, and checks of spans; independent of any one format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, pairwise
from typing import Any

from vertune.core.errors import DataError
from vertune.core.format import Labelled
from vertune.core.records import Column
from vertune.core.task import Task

_PIECE = 1 << 18
"""Number of characters from which a piece of a file is passed on."""
JSON_LINES = "application/x-ndjson"


def target_of(task: Task) -> Column:
    """Return the target field of a task, of which formats for annotation tools expect one."""
    return task.target_columns[0]


def text_of(task: Task) -> Column:
    """Return the one input of a task that formats with a single text write."""
    return next(column for column in task.input_columns if column.required)


def columns(task: Task) -> dict[str, str]:
    """Return the columns from which a text and its labels or spans are read again, where the source calls them `text`, `label`, `spans`."""
    target = target_of(task)
    return {text_of(task).name: "text", target.name: "spans" if target.type == "spans" else "label"}


def choices(row: Labelled, target: Column) -> list[str]:
    """Return the labels of a record: of a field with one label, or with any number of them."""
    value = row.target[target.name]
    return [value] if target.type == "label" else list(value)


def about(row: Labelled) -> dict[str, Any]:
    """Return what is known about a label besides its value, without what is not known."""
    known = {
        "labelled_record": row.number, "labelled_by": row.annotator, "labelled_at": row.at, "labelled_seconds": row.seconds,
        "labelled_decision": row.decision or None,
    }  # fmt: skip
    return {name: value for name, value in known.items() if value is not None}


def flat(task: Task, row: Labelled) -> dict[str, Any]:
    """Return one row of a table: the fields of the task that the record has, and what is known about its label."""
    fields = {column.name: row.record[column.name] for column in task.columns if row.record.get(column.name) is not None}
    return {**fields, **row.target, **about(row)}


def as_json(value: Any) -> str:
    """Return a value as JSON on one line, whose characters stay readable.

    Line separators of Unicode are escaped, at which some software ends a line.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


def json_lines(values: Iterable[Any]) -> Iterator[bytes]:
    """Yield a file with one JSON value on each line, in pieces."""
    return pieces(as_json(value) + "\n" for value in values)


def json_list(values: Iterable[Any], start: str = "[", end: str = "]") -> Iterator[bytes]:
    """Yield a file with one JSON list, each value on a line of its own, in pieces; `start` and `end` are what is around the values."""
    lines = ((",\n" if place else "\n") + as_json(value) for place, value in enumerate(values))
    return pieces(chain([start], lines, [f"\n{end}\n"]))


def pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield texts as UTF-8, many of them together."""
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _PIECE:
            yield "".join(held).encode()
            held, size = [], 0
    if held:
        yield "".join(held).encode()


def by_record(rows: Sequence[Labelled]) -> Iterator[list[Labelled]]:
    """Yield the labels of each record together; rows of a record follow each other, and rows without a number are records of their own."""
    for number, group in groupby(rows, key=lambda row: row.number):
        found = list(group)
        yield from [found] if number is not None else ([row] for row in found)


def apart(row: Labelled, text: str, spans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the spans of a text in their order; raise DataError if two of them overlap, or if one is empty or outside the text."""
    ordered = sorted(spans, key=lambda span: (span["start"], span["end"]))
    for span in ordered:
        if not 0 <= span["start"] < span["end"] <= len(text):
            raise refused(row, f"has a span from {span['start']} to {span['end']} in a text of {len(text)} characters")
    for one, other in pairwise(ordered):
        if other["start"] < one["end"]:
            raise refused(row, f"has spans that overlap: {one['start']} to {one['end']} and {other['start']} to {other['end']}")
    return ordered


def refused(row: Labelled, why: str) -> DataError:
    """Return the error for a record that a format can't express."""
    where = "A record" if row.number is None else f"The record {row.number}"
    return DataError(f"{where} {why}, which this format can't express. Correct its label, or choose another format, such as jsonl.")
