"""Builds Polars frames from Python values, and adds the columns `__file`, `__row` and `__error` that every source returns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from vertune.core.errors import DataError

_SCALARS: dict[type, pl.DataType] = {str: pl.String(), bool: pl.Boolean(), int: pl.Int64(), float: pl.Float64()}
FILE, ROW, ERROR = "__file", "__row", "__error"
SAMPLE = (("the card was swallowed", "card"), ("wie hoch ist der Zins, bitte?", "rate"), ("我的卡被吞了", "card"))
"""The texts and labels that the method `sample` of the sources writes to a file; the texts are in three languages."""


def marked(frame: pl.DataFrame, file: str, errors: Sequence[str | None] | None = None, first: int = 1) -> pl.DataFrame:
    """Add the columns that every source returns: `__file` (file name), `__row` (row number) and `__error`.

    Rows are numbered from `first`. `__error` is the reason why a row can't be read, or null if it can; without `errors`, it is null in
    all rows.
    """
    rows = pl.Series(ROW, range(first, first + frame.height), dtype=pl.Int64)
    why = pl.Series(ERROR, errors if errors is not None else [None] * frame.height, dtype=pl.String)
    return frame.with_columns(pl.lit(file, dtype=pl.String).alias(FILE), rows, why)


def names(header: Iterable[str], where: str) -> list[str]:
    """Convert the cells of a header to names of columns: on one line, without blanks around them, and `column_3` for an empty third cell.

    Raises DataError if two columns have the same name; `where` names the file in its message.
    """
    found = [" ".join(name.split()) or f"column_{place}" for place, name in enumerate(header, 1)]
    repeated = next((name for name, count in Counter(found).items() if count > 1), None)
    if repeated is not None:
        raise DataError(f"The header of {where} names '{repeated}' more than once. Rename one of the columns.")
    return found


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Concatenate frames vertically.

    A column that one of the frames lacks is null in the rows of this frame. A column that has different types gets a common type.
    """
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed", rechunk=False)


def columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Convert rows (dicts) to a dict from each key to the list of its values in all rows; if a row lacks the key, the value is None."""
    table: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name, value in row.items():
            column = table.setdefault(name, [])
            column.extend([None] * (count - len(column)))
            column.append(value)
        count += 1
    return {name: [*column, *[None] * (count - len(column))] for name, column in table.items()}


def series(name: str, values: list[Any]) -> pl.Series:
    """Build a Polars column of a type that can store all of these JSON values; a mixture of integers and floats becomes floats.

    If there is no such type, all values are stored as strings (other values than strings as JSON), so that no value is lost.
    """
    kind = _kind(values)
    if kind is not None:
        try:
            return pl.Series(name, values, dtype=kind)
        except (OverflowError, TypeError, pl.exceptions.PolarsError):
            pass  # an integer beyond 64 bits
    return pl.Series(name, [_as_text(value) for value in values], dtype=pl.String)


def _kind(values: Iterable[Any]) -> pl.DataType | None:
    """Return the Polars type that can store all of these values; None if there is no such type."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if not kinds:
        return pl.String()
    if len(kinds) == 1 and kinds <= set(_SCALARS):
        return _SCALARS[kinds.pop()]
    if kinds == {int, float}:
        return pl.Float64()
    if kinds == {list}:
        inner = _kind(item for value in known for item in value)
        return None if inner is None else pl.List(inner)
    if kinds == {dict}:
        names = dict.fromkeys(key for value in known for key in value)
        fields = {key: _kind(value.get(key) for value in known) for key in names}
        return pl.Struct({key: kind for key, kind in fields.items() if kind is not None}) if all(fields.values()) and fields else None
    return None


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
