"""How tasks check the rows of a frame: what must be there, what is rejected and why; knows nothing of models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vertune.core.errors import DataError
from vertune.core.records import MAX_EXAMPLES, Cleaned, Column, Note

if TYPE_CHECKING:
    import polars as pl

    Problem = tuple[pl.Expr, pl.Expr | str]
    """When a row is bad, and the reason that is given."""


def need(frame: pl.DataFrame, columns: Iterable[Column], task: str) -> None:
    """DataError unless the frame has every input column that must be there."""
    for column in columns:
        if column.role == "input" and column.required and column.name not in frame.columns:
            raise DataError(missing(frame, column.name, task))
        if column.type == "text" and column.name in frame.columns and frame.schema[column.name].is_nested():
            raise DataError(
                f"The column '{column.name}' must hold texts, but it holds {frame.schema[column.name]}. "
                f"Write one text a row, or join columns with `fields: {{{column.name}: [a, b]}}`."
            )


def missing(frame: pl.DataFrame, name: str, task: str) -> str:
    """The sentence for a column that a task reads and the data does not have."""
    known = ", ".join(column for column in frame.columns if not column.startswith("__")) or "none"
    return f"The task '{task}' reads the column '{name}', but the data has: {known}. Say which one it is with `fields: {{{name}: COLUMN}}`."


def target(frame: pl.DataFrame, name: str, task: str) -> pl.Series:
    """The column that a task learns from; DataError where it is absent or has no rows."""
    if name not in frame.columns:
        raise DataError(missing(frame, name, task))
    if not frame.height:
        raise DataError(f"The task '{task}' needs training rows, but none are left. The rejected rows and their reasons say why.")
    return frame[name]


def string(name: str) -> pl.Expr:
    """A column as text, whatever simple type it was read as."""
    import polars as pl

    return pl.col(name).cast(pl.String)


def blank(name: str) -> pl.Expr:
    """Whether a text is absent or nothing but white space."""
    return string(name).is_null() | (string(name).str.strip_chars() == "")


@dataclass(frozen=True, slots=True)
class Change:
    """A conversion that loses something of a row which stays; a note counts it."""

    what: str
    """What happened, as `Note.what`."""
    count: pl.Expr
    """How many values of a row it happens to."""
    of: pl.Expr
    """How many values a row has."""
    value: pl.Expr
    """What an example shows."""


@dataclass(slots=True)
class Checks:
    """How the rows of a frame are checked and converted."""

    names: Sequence[str]
    """Columns whose values a rejected row shows."""
    problems: list[Problem] = field(default_factory=list)
    results: list[pl.Expr] = field(default_factory=list)
    """Conversions of the good rows."""
    changes: list[Change] = field(default_factory=list)


def words(name: str) -> pl.Expr:
    """A column as trimmed words; an empty one is null."""
    import polars as pl

    text = string(name).str.strip_chars()
    return pl.when(text != "").then(text)


def categories(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A column as trimmed words, with whole numbers that were read as fractions written without a point."""
    import polars as pl

    if not frame.schema[name].is_float():
        return words(name)
    whole = pl.col(name) == pl.col(name).round()
    return pl.when(whole).then(pl.col(name).cast(pl.Int64, strict=False).cast(pl.String)).otherwise(words(name))


def number(frame: pl.DataFrame, name: str) -> tuple[pl.Expr, pl.Expr]:
    """A column as trimmed text, and as numbers with null where it holds none; DataError where no value at all is a number."""
    import polars as pl

    kind = frame.schema[name]
    if kind.is_nested() or kind.is_temporal():
        raise DataError(f"The column '{name}' holds {kind}, and the task reads numbers from it. Name a column of numbers.")
    raw = string(name).str.strip_chars()
    value = (raw if kind == pl.String else pl.col(name)).cast(pl.Float64, strict=False)
    filled = frame.select(raw=raw, value=value).filter(pl.col("raw").is_not_null() & (pl.col("raw") != ""))
    if len(filled) and filled["value"].is_null().all():
        raise DataError(
            f"The column '{name}' holds words such as '{filled['raw'][0]}', and the task reads numbers from it. Name a column of "
            "numbers; to answer words: task: classify."
        )
    return raw, value


def not_finite(name: str, raw: pl.Expr) -> pl.Expr:
    """The reason of a row whose value is no finite number."""
    import polars as pl

    return pl.format(f"{name} is '{{}}', which is not a finite number", raw)


def trimmed(name: str, values: str) -> Change:
    """The note on values that had white space around them."""
    import polars as pl

    changed = string(name) != string(name).str.strip_chars()
    return Change(f"{values} had white space around them, which was removed", changed, pl.col(name).is_not_null(), pl.col(name))


def sift(frame: pl.DataFrame, checks: Checks, task: str) -> Cleaned:
    """Rows without a problem, converted; the others with their first reason; notes on what the conversion loses."""
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
    """The note on one change; None where no row is affected."""
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
    """Where a row came from: its file where the source gives one, and its number from 1."""
    return {**({"file": row["__file"]} if "__file" in row else {}), "row": row.get("__row", row["__number"])}


def _writable(value: Any) -> Any:
    """A value as JSON can hold it: no NaN, no bytes, no date."""
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
