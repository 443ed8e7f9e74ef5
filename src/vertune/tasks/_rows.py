"""How tasks check the rows of a frame: what must be there, what is rejected and why; knows nothing of models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vertune.core.errors import DataError
from vertune.core.records import Cleaned, Column

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


def sift(frame: pl.DataFrame, names: Sequence[str], problems: Sequence[Problem], results: Sequence[pl.Expr]) -> Cleaned:
    """Rows without a problem, converted by `results`; the others with their first reason and their values of `names`."""
    import polars as pl

    reasons = [pl.when(bad).then(pl.lit(reason) if isinstance(reason, str) else reason) for bad, reason in problems]
    marked = frame.with_columns(pl.coalesce(reasons).alias("__reason")).with_row_index("__place", offset=1)
    bad = marked.filter(pl.col("__reason").is_not_null())
    rejected = []
    for row in bad.iter_rows(named=True):
        place = {"file": row["__file"]} if "__file" in row else {}
        values = {name: _writable(row[name]) for name in names if name in row}
        rejected.append({**place, "row": row.get("__row", row["__place"]), "reason": row["__reason"], "values": values})
    good = marked.filter(pl.col("__reason").is_null()).drop("__reason", "__place").with_columns(results)
    return Cleaned(good, rejected)


def _writable(value: Any) -> Any:
    """A value as JSON can hold it, which has no NaN."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
