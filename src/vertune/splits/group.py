"""Divides rows so that all rows of a group (such as a customer, a document or a question) are in the same split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from pydantic import Field

from vertune.core import content
from vertune.core.kinds import Split
from vertune.core.records import Column
from vertune.splits import _cut


class Group(Split):
    """A split that keeps the rows of a group together; the fields below are its options."""

    by: str
    """The column that names the group of each row; a row without a value is grouped only with rows that have equal inputs."""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of all rows that is used for the test."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the rows left after the test rows are taken, which is used for validation."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random order in which groups are assigned to splits."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The name of the column that contains the group of each row (option `by`), in a tuple."""
        return (self.by,)

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Return the name of the split of each row; all rows of a group get the same split, and groups are assigned in random order.

        Raises DataError if there are fewer groups than splits.
        """
        given = _cut.column(frame, self.by, "its groups").cast(pl.String)
        alone = pl.Series(content.of_inputs(frame, _cut.inputs(columns))).cast(pl.String)
        named = pl.select(
            pl.when(given.is_null() | (given.str.strip_chars() == "")).then("row " + alone).otherwise("group " + given)
        ).to_series()
        groups, group_of_row = np.unique(content.hashes(named.to_list(), str(self.seed)), return_inverse=True)
        names = _cut.blocks(np.bincount(group_of_row, minlength=len(groups)), self.test, self.validation)
        return pl.Series("split", names[group_of_row], dtype=pl.String)
