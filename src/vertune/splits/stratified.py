"""Divides rows at random so that every split has the same proportions of classes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from pydantic import Field

from vertune.core.kinds import Split
from vertune.core.records import Column
from vertune.splits import _cut


class Stratified(Split):
    """A random split with the same proportions of classes in every split; the fields below are its options."""

    test: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of all rows that is used for the test."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the rows left after the test rows are taken, which is used for validation."""
    by: str = "auto"
    """The column whose values are the classes that every split has in the same proportions; auto uses the target of the task."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random order in which rows are assigned to splits."""

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Return the name of the split of each row; rows with equal inputs get the same split.

        Raises DataError if there are fewer than 4 distinct inputs.
        """
        wanted = {"test": self.test, "validation": self.validation * (1 - self.test)}
        return _cut.shares(frame, columns, wanted, self.by, str(self.seed))
