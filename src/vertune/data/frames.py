"""Converts data that a Python caller passes (pandas frames, arrays, lists of records) to Polars frames.

This module does not know tasks or models. None, NaN, NaT and NA all mean that a value is missing; a missing value becomes null.
"""

from __future__ import annotations

import datetime
import decimal
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from vertune.core.columns import named
from vertune.core.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_MISSING_TYPES = frozenset({"NAType", "NaTType"})
"""Names of the types of missing values of pandas, which must not be imported only to recognise them."""
_KEPT_TYPES = (str, bytes, bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)
"""Types whose values Polars stores as they are; a datetime is a date, too."""


def is_missing(value: Any) -> bool:
    """Return whether a Python value stands for a missing value: None, NaN, or NaT or NA of pandas."""
    if value is None or type(value).__name__ in _MISSING_TYPES:
        return True
    if isinstance(value, decimal.Decimal):
        return value.is_nan()  # a signalling NaN can't be compared
    # only NaN and NaT differ from themselves
    return isinstance(value, (float, np.floating, np.datetime64, np.timedelta64)) and bool(value != value)


def column(name: str, values: Iterable[Any]) -> pl.Series:
    """Return a Polars column of these Python values, in which missing values are null.

    If the values have types that no column can hold together, all of them become texts: lists and mappings as JSON, other values
    in the way that `str` formats them. Raises DataError for a text that is not valid Unicode.
    """
    import polars as pl

    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    try:
        if kinds == {str}:
            return pl.Series(name, plain, pl.String)
        if len(kinds) < 2 or kinds == {int, float}:
            try:
                return _typed(name, plain, kinds)
            except (OverflowError, TypeError, pl.exceptions.PolarsError):
                pass  # an integer beyond 64 bits, or lists of different types
        return pl.Series(name, [_as_text(value) for value in plain], pl.String)
    except UnicodeEncodeError as error:
        raise DataError(
            f"The text {error.object[:40]!r} is not valid Unicode. Decode it with the encoding that it was written in."
        ) from error


def _typed(name: str, plain: Sequence[Any], kinds: Set[type]) -> pl.Series:
    """Return a column of values that all have one type, or are integers and floats; raise an error of Polars if it can't hold them.

    `kinds` contains the types of the values that are not missing.
    """
    import polars as pl

    if kinds & {list, dict}:  # a frame infers the type from all rows, a series only from the first one
        return pl.DataFrame([{name: value} for value in plain], infer_schema_length=None)[name]
    kind = pl.Float64 if float in kinds else pl.Int64 if int in kinds else None
    return pl.Series(name, plain, kind)


def of_columns(table: Any) -> pl.DataFrame:
    """Convert a data frame of pandas to a Polars frame; the index is left out, and names of columns become texts.

    Raises DataError if two columns have the same name.
    """
    import polars as pl

    names = [str(name) for name in table.columns]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"The data frame has {names.count(repeated[0])} columns with the name '{repeated[0]}', but each name must be unique. "
            "Rename or drop one of these columns."
        )
    return pl.DataFrame([column(name, table.iloc[:, place].to_list()) for place, name in enumerate(names)])


def of_records(records: Iterable[Any]) -> pl.DataFrame:
    """Convert records (mappings from names to values) to a Polars frame; a key that a record lacks is missing in its row.

    Raises DataError for an item that is not a mapping.
    """
    import polars as pl

    rows = list(records)
    other = next(((number, row) for number, row in enumerate(rows, 1) if not isinstance(row, Mapping)), None)
    if other is not None:
        raise DataError(
            f"Record {other[0]} has the type {type(other[1]).__name__}, but a mapping from field names to values is expected. "
            'Pass records such as {"text": "…"}.'
        )
    names = dict.fromkeys(name for row in rows for name in row)
    if rows and not names:  # a frame without columns has no rows, so that the records would be lost
        raise DataError('Record 1 has no fields; expected values by field name. Pass records such as {"text": "…"}.')
    return pl.DataFrame([column(str(name), [row.get(name) for row in rows]) for name in names])


def without_nan(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a Polars frame in which NaN is null, and in which columns of Python objects have types that Polars can convert."""
    import polars as pl

    objects = [column(name, frame[name].to_list()) for name, kind in frame.schema.items() if kind == pl.Object]
    numbers = [named(name).fill_nan(None) for name, kind in frame.schema.items() if kind.is_float()]
    return frame.with_columns(*objects, *numbers)


def _plain(value: Any) -> Any:
    """Convert a value to one that Polars or JSON can store: arrays, tuples and sets become lists, unknown types become texts."""
    if type(value) in (str, int, bool):
        return value
    if is_missing(value):
        return None
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        return _plain(value.item()) if type(value.item()) is not type(value) else str(value)
    if isinstance(value, str):
        return str(value)  # a subclass, such as an enum
    if isinstance(value, _KEPT_TYPES):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted(map(_plain, value), key=str)
    if isinstance(value, Sequence) or (hasattr(value, "tolist") and np.ndim(value)) or type(value).__name__ == "Series":
        return [_plain(item) for item in value]
    return str(value)


def _as_text(value: Any) -> str | None:
    """Format a value as text; lists and mappings become JSON, and None stays None."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value if value is None or isinstance(value, str) else str(value)
