"""Divides a data frame into rows to keep and rows to drop, for a given reason; independent of which cleaner calls it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from vertune.core.records import Cleaned


def reject(frame: pl.DataFrame, reason: pl.Expr, shown: Sequence[str]) -> Cleaned:
    """Keep the rows for which `reason` is null; reject the others, each with its reason and its values in the columns `shown`."""
    marked = frame.with_columns(reason.alias("__reason"))
    rejected = [
        {"file": row["__file"], "row": row["__row"], "reason": row["__reason"], "values": {name: row[name] for name in shown}}
        for row in marked.filter(pl.col("__reason").is_not_null()).iter_rows(named=True)
    ]
    return Cleaned(marked.filter(pl.col("__reason").is_null()).drop("__reason"), rejected)
