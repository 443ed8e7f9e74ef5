"""Writes rows as a table in CSV, line by line; does not depend on what they contain."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vertune.server.texts import as_json

_DECIDING = 500
"""Number of rows that decide which columns a table has."""


def csv_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a CSV file; the first rows decide its columns. Lists and objects become JSON.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    remaining = iter(rows)
    first = list(itertools.islice(remaining, _DECIDING))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(name for row in first for name in row)), extrasaction="ignore")
    if first:
        writer.writeheader()
    for row in itertools.chain(first, remaining):
        writer.writerow({name: _cell(value) for name, value in row.items()})
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return as_json(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
