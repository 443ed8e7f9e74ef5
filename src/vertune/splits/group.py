"""Rows of one group (a customer, a document, a question) are never in two splits."""

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
    """Options of a division by groups."""

    by: str
    """The column that names the group of a row; a row without a group is its own."""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Share of the rows that are kept for the test."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share of the remaining rows that are cut for validation."""
    seed: int = Field(default=0, ge=0)
    """Another seed gives another division."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The column of the groups."""
        return (self.by,)

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Names of splits: groups in the order of their hashes fill test, then validation. DataError where there are too few."""
        given = _cut.column(frame, self.by, "its groups").cast(pl.String)
        alone = pl.Series(content.of_inputs(frame, _cut.inputs(columns))).cast(pl.String)
        named = pl.select(
            pl.when(given.is_null() | (given.str.strip_chars() == "")).then("row " + alone).otherwise("group " + given)
        ).to_series()
        groups, place = np.unique(content.hashes(named.to_list(), str(self.seed)), return_inverse=True)
        names = _cut.blocks(np.bincount(place, minlength=len(groups)), self.test, self.validation)
        return pl.Series("split", names[place], dtype=pl.String)
