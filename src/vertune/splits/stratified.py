"""Divides rows at random so that every split has the same proportions of classes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from pydantic import Field

from vertune.core.kinds import Split
from vertune.core.records import Column
from vertune.splits import _cut


class Stratified(Split):
    """Options of the stratified split."""

    test: float = Field(default=0.2, ge=0, lt=1)
    """Share of the rows that are used as test data."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share of the other rows that are used for validation."""
    by: str = "auto"
    """The column whose values have the same proportions in every split; auto uses the target of the task."""
    seed: int = Field(default=0, ge=0)
    """Seed of the hash that orders the rows; another seed gives another division."""

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Return the split of each row; rows with the same text get the same one. DataError if there are fewer than 4 distinct texts."""
        wanted = {"test": self.test, "validation": self.validation * (1 - self.test)}
        return _cut.shares(frame, columns, wanted, self.by, str(self.seed))
