"""Every split has the same proportions of classes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from pydantic import Field

from vertune.core.kinds import Split
from vertune.core.records import Column
from vertune.splits import _cut


class Stratified(Split):
    """Options of a division that keeps proportions."""

    test: float = Field(default=0.2, ge=0, lt=1)
    """Share of the rows that are kept for the test."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share of the remaining rows that are cut for validation."""
    by: str = "auto"
    """The column whose proportions are kept; auto takes the target of the task."""
    seed: int = Field(default=0, ge=0)
    """Another seed gives another division."""

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Names of splits; rows with the same text are in the same one. DataError below 4 texts."""
        wanted = {"test": self.test, "validation": self.validation * (1 - self.test)}
        return _cut.shares(frame, columns, wanted, self.by, str(self.seed))
