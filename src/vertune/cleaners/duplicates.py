"""Drops duplicate rows: keeps only the first of several rows with equal inputs and equal expected answers.

With the option `by: inputs`, only the inputs are compared. Duplicates are dropped because a text that occurs many times has too much
weight in training. In validation it makes the confidence intervals of metrics too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from vertune.cleaners._reject import reject
from vertune.core import content
from vertune.core.kinds import Cleaner
from vertune.core.records import Cleaned, Column


class Duplicates(Cleaner):
    """Cleaner that drops duplicate rows; the fields below are its options."""

    by: Literal["record", "inputs"] = "record"
    """What is compared: with `record`, rows with equal inputs and targets are duplicates; with `inputs`, rows with equal inputs."""

    def clean(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Cleaned:
        """Keep the first of several equal rows, and reject the other ones.

        The result lists each rejected row with the file and number of the equal row that was kept. `columns` are the fields of the task.
        """
        roles = ("input", "target") if self.by == "record" else ("input",)
        compared = [column.name for column in columns if column.role in roles and column.name in frame.columns]
        if not compared or frame.is_empty():
            return Cleaned(frame)
        numbered = frame.with_columns(pl.Series("__key", content.of_rows(frame, compared)), pl.int_range(pl.len()).alias("__place"))
        first = numbered.with_columns(pl.col("__place").first().over("__key").alias("__first"))
        repeated = pl.col("__place") != pl.col("__first")
        reason = pl.when(repeated).then(pl.lit(f"the same {' and '.join(f'{role}s' for role in roles)} are in an earlier row"))
        cleaned = reject(first, reason, [*compared, "__first"])
        files, rows = frame["__file"], frame["__row"]
        for row in cleaned.rejected:
            place = row["values"].pop("__first")
            row["values"]["first"] = f"{files[place]}, row {rows[place]}"
        cleaned.frame = cleaned.frame.drop("__key", "__place", "__first")
        return cleaned
