"""Functions with which tasks check and convert the rows of a data frame.

Invalid rows are rejected with a reason. Values that a conversion changes are counted and reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vertune.core import numerals
from vertune.core.columns import named
from vertune.core.errors import DataError
from vertune.core.numerals import Decimal
from vertune.core.records import MAX_EXAMPLES, Cleaned, Column, Note

if TYPE_CHECKING:
    import polars as pl

    Problem = tuple[pl.Expr, pl.Expr | str]
    """A condition that marks bad rows, and the reason why they are rejected."""


def need(frame: pl.DataFrame, columns: Iterable[Column], task: str) -> None:
    """Raise DataError if a required input column is missing, or if a text column contains lists, structs or bytes.

    `columns` are the columns that the task defines; `task` is its name, for the messages.
    """
    import polars as pl

    for column in columns:
        if column.role == "input" and column.required and column.name not in frame.columns:
            raise DataError(missing(frame, column.name, task))
        kind = frame.schema.get(column.name)
        if column.type == "text" and kind is not None and (kind.is_nested() or kind == pl.Binary):
            raise DataError(
                f"The column '{column.name}' must contain texts, but has the type {kind}. "
                f"Write one text per row, or join several columns with `data: {{fields: {{{column.name}: [COLUMN, COLUMN]}}}}`."
            )


def missing(frame: pl.DataFrame, name: str, task: str) -> str:
    """Return the error message for a column that a task needs but the data does not have."""
    known = ", ".join(column for column in frame.columns if not column.startswith("__")) or "none"
    return (
        f"The data has no column '{name}', which the task '{task}' needs. Its columns are: {known}. "
        f"Name the column to read instead in the config: `data: {{fields: {{{name}: COLUMN}}}}`."
    )


def target(frame: pl.DataFrame, name: str, task: str) -> pl.Series:
    """Return the column `name` of the training rows, which contains the values to predict.

    Raises DataError if the data has no such column, or no rows. `task` is the name of the task, for the messages.
    """
    if name not in frame.columns:
        raise DataError(missing(frame, name, task))
    if not frame.height:
        raise DataError(
            f"The task '{task}' has no training rows, because all rows were rejected. "
            "Correct the rows listed in rejected.jsonl, or add rows."
        )
    return frame[name]


def string(name: str) -> pl.Expr:
    """Return a Polars expression that converts the column `name` to text."""
    import polars as pl

    return named(name).cast(pl.String)


def blank(name: str) -> pl.Expr:
    """Return a Polars expression that is true for rows whose value in the column `name` is null, empty or only white space."""
    return string(name).is_null() | (string(name).str.strip_chars() == "")


@dataclass(frozen=True, slots=True)
class Change:
    """The description of a conversion that changes or drops values, but keeps the rows that contain them.

    `sift` counts the affected values, and reports the count and some examples in a `Note`.
    """

    what: str
    """What happened, as the end of a sentence that begins with counts: `labels had white space around them, which was removed`."""
    count: pl.Expr
    """An expression for the number of affected values of each row."""
    of: pl.Expr
    """An expression for the number of all values of each row."""
    value: pl.Expr
    """An expression for the value of a row that the note shows as an example."""


@dataclass(slots=True)
class Checks:
    """The checks and conversions that a task defines for its rows, and that `sift` applies to a frame."""

    names: Sequence[str]
    """Columns whose values are reported for a rejected row."""
    problems: list[Problem] = field(default_factory=list)
    """Conditions for rejecting a row, each with the reason; the first one that is true gives the reason."""
    results: list[pl.Expr] = field(default_factory=list)
    """Expressions that replace columns of the rows that are not rejected."""
    changes: list[Change] = field(default_factory=list)
    """Conversions that change or drop values; each is reported in a note with counts and examples."""


def words(name: str) -> pl.Expr:
    """Return a Polars expression for the column `name` as text without surrounding white space; blank values become null."""
    import polars as pl

    text = string(name).str.strip_chars()
    return pl.when(text != "").then(text)


def categories(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Return a Polars expression for a column of categories as text without surrounding white space.

    Blank values become null. In a column of floats, whole numbers get no decimal point: 1.0 becomes `1`.
    """
    import polars as pl

    if not frame.schema[name].is_float():
        return words(name)
    whole = named(name) == named(name).round()
    return pl.when(whole).then(named(name).cast(pl.Int64, strict=False).cast(pl.String)).otherwise(words(name))


def number(frame: pl.DataFrame, name: str, decimal: Decimal = "point") -> tuple[pl.Expr, pl.Expr]:
    """Return two Polars expressions for the column `name`: its values as trimmed text, and its values as numbers.

    The second expression is null where a value is not a number. `decimal` is the decimal mark of numbers that are
    written as texts. Raises DataError if the column contains lists, structs or dates, or if none of its values is a
    number.
    """
    import polars as pl

    kind = frame.schema[name]
    if kind.is_nested() or kind.is_temporal():
        raise DataError(
            f"The column '{name}' has the type {kind}, but the task needs numbers. "
            f"Name a column of numbers in the config: `data: {{fields: {{{name}: COLUMN}}}}`."
        )
    raw = string(name).str.strip_chars()
    value = numerals.parsed(raw, decimal) if kind == pl.String else named(name).cast(pl.Float64, strict=False)
    filled = frame.select(raw=raw, value=value).filter(pl.col("raw").is_not_null() & (pl.col("raw") != ""))
    if kind == pl.String and len(units := numerals.units(filled["raw"])) > 1:
        raise DataError(
            f"The column '{name}' contains numbers with the units {' and '.join(units)}, which can't be compared; expected one unit. "
            "Convert them to one unit."
        )
    if len(filled) and filled["value"].is_null().all():
        raise DataError(
            f"The column '{name}' contains words such as '{filled['raw'][0]}', but the task needs numbers. "
            f"Name a column of numbers in the config: `data: {{fields: {{{name}: COLUMN}}}}`. To predict words, use `task: classify`."
        )
    return raw, value


def separated(frame: pl.DataFrame, name: str, decimal: Decimal) -> list[Change]:
    """Return the `Change` that reports how many numbers of a column were read although they have a decimal comma or separators.

    The list is empty for a column of numbers, which are not written as texts.
    """
    import polars as pl

    if frame.schema[name] != pl.String:
        return []
    raw = string(name).str.strip_chars()
    what = f"numbers were read with a decimal {decimal}, without separators between thousands and without units such as € or %"
    return [Change(what, numerals.is_separated(raw, decimal), named(name).is_not_null(), named(name))]


def not_finite(name: str, raw: pl.Expr) -> pl.Expr:
    """Return a Polars expression for the reason with which rows are rejected whose value is not a finite number.

    The reason is a text with the name of the column (`name`) and the value itself; `raw` is an expression for the value
    as text.
    """
    import polars as pl

    return pl.concat_str(pl.lit(f"{name} is '"), raw, pl.lit("', which is not a finite number"))


def trimmed(name: str, values: str) -> Change:
    """Return a `Change` that counts the values of the column `name` that had white space around them, which was removed.

    `values` is the plural noun for these values in the note, such as `labels`.
    """
    changed = string(name) != string(name).str.strip_chars()
    return Change(f"{values} had white space around them, which was removed", changed, named(name).is_not_null(), named(name))


def sift(frame: pl.DataFrame, checks: Checks, task: str) -> Cleaned:
    """Reject the invalid rows of a frame, and convert the other rows.

    A row is rejected if a condition in `checks.problems` is true for it; the first such condition gives the reason. The
    result contains the converted rows, the rejected rows with their reasons, and a note for each `Change` that affects
    at least one value. `task` is the name of the task, which the notes contain.
    """
    import polars as pl

    reasons = [pl.when(bad).then(pl.lit(reason) if isinstance(reason, str) else reason) for bad, reason in checks.problems]
    marked = frame.with_columns(pl.coalesce([*reasons, pl.lit(None, pl.String)]).alias("__reason")).with_row_index("__number", offset=1)
    rejected = [
        {
            **_origin(row),
            "reason": row["__reason"],
            "values": {name: _writable(row[name]) for name in checks.names if name in row},
        }
        for row in marked.filter(pl.col("__reason").is_not_null()).iter_rows(named=True)
    ]
    good = marked.filter(pl.col("__reason").is_null()).drop("__reason")
    notes = [note for change in checks.changes if (note := _note(good, change, task)) is not None]
    return Cleaned(good.drop("__number").with_columns(checks.results), rejected, notes)


def _note(good: pl.DataFrame, change: Change, task: str) -> Note | None:
    """Return the note on one change: how many values of the kept rows (`good`) it affects, with examples.

    Returns None if the change affects no value.
    """
    import polars as pl

    marks = [name for name in ("__file", "__row", "__number") if name in good.columns]
    counted = good.select(
        *marks,
        change.count.cast(pl.Int64).fill_null(0).alias("__count"),
        change.of.cast(pl.Int64).alias("__of"),
        change.value.alias("__value"),
    )
    count = int(counted["__count"].sum())
    if not count:
        return None
    rows = counted.filter(pl.col("__count") > 0).head(MAX_EXAMPLES).iter_rows(named=True)
    examples = tuple({**_origin(row), "value": _writable(row["__value"])} for row in rows)
    return Note(task, change.what, count, int(counted["__of"].sum()), examples)


def _origin(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a row was read from, for a report: a dict with its row number, counted from 1, as `row`.

    If the frame has a column `__file`, the dict also contains the name of the file, as `file`.
    """
    return {**({"file": row["__file"]} if "__file" in row else {}), "row": row.get("__row", row["__number"])}


def _writable(value: Any) -> Any:
    """Convert a value to one that JSON can represent; NaN, infinity, bytes and dates become text."""
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
