"""Divides a data frame into the rows that a cleaner keeps and the rows that it rejects; for use by any cleaner."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from vertune.core.records import Cleaned


def reject(frame: pl.DataFrame, reason: pl.Expr, shown: Sequence[str]) -> Cleaned:
    """Keep the rows for which the expression `reason` is null, and reject the other rows.

    The result lists each rejected row with its file, its number, the reason, and its values in the columns `shown`.
    """
    marked = frame.with_columns(reason.alias("__reason"))
    rejected = [
        {"file": row["__file"], "row": row["__row"], "reason": row["__reason"], "values": {name: row[name] for name in shown}}
        for row in marked.filter(pl.col("__reason").is_not_null()).iter_rows(named=True)
    ]
    return Cleaned(marked.filter(pl.col("__reason").is_null()).drop("__reason"), rejected)
