"""Divides rows as the data specifies: by separate files, or by a column that names the split of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from vertune.core.errors import DataError
from vertune.core.kinds import Split
from vertune.core.profile import SPLIT_WORDS
from vertune.core.records import Column
from vertune.splits import _cut

_USUAL = {**SPLIT_WORDS, "unused": ("unused",)}


class Given(Split):
    """A split that is given by the data: by separate files, or by a column; the fields below are its options."""

    by: str | None = None
    """The column that names the split of each row; None if `data.source` contains only training rows."""
    values: dict[Literal["train", "validation", "test"], list[str]] = Field(default={})
    """For each split, the values of the column `by` that stand for it; rows with other values are not used. If empty, the usual names of
    splits, such as dev or test, are recognised."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the training rows that is used for validation if the data has no validation rows."""

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, values: object) -> object:
        """Convert numbers in the option `values` to texts, because they are compared with the values of the column as texts."""
        if not isinstance(values, dict):
            return values
        return {name: [str(value) for value in listed] if isinstance(listed, list) else listed for name, listed in values.items()}

    @property
    def reads(self) -> tuple[str, ...]:
        """The column that contains the name of the split of each row (option `by`); empty if the option is not set."""
        return (self.by,) if self.by else ()

    def assigned(self, frame: pl.DataFrame) -> frozenset[str]:
        """Return the splits that the column `by` names; empty if the option is not set."""
        if not self.by:
            return frozenset()
        return frozenset(self._recognised(self._cells(frame)).drop_nulls()) - {"unused"}

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Return `train`, `validation`, `test` or `unused` for each row.

        If the data assigns no row to `validation`, a random part of the training rows is moved to it, of the size that the option
        `validation` sets. Raises DataError if the column `by` contains a value that is not the name of a split.
        """
        names = self._named(frame)
        if not self.validation or (names == "validation").any():
            return names
        training = names == "train"
        cut = _cut.shares(frame.filter(training), columns, {"validation": self.validation})
        return names.scatter(training.arg_true(), cut)

    def _named(self, frame: pl.DataFrame) -> pl.Series:
        """Return the split that the column `by` names for each row, or `unused`; if `by` is None, `train` for all rows."""
        if not self.by:
            return pl.Series("split", ["train"], dtype=pl.String).new_from_index(0, frame.height)
        given = self._cells(frame)
        found = self._recognised(given)
        if self.values:
            return found.fill_null("unused")
        unknown = given.filter(found.is_null()).unique().sort().head(5).to_list()
        if unknown:
            shown = ", ".join("empty cells" if value is None else f"'{value}'" for value in unknown)
            raise DataError(
                f"The column '{self.by}' contains {shown}; expected names of splits (train, validation, test, unused). "
                "Set the values of each split with the option 'values': {train: [...], validation: [...], test: [...]}."
            )
        return found

    def _cells(self, frame: pl.DataFrame) -> pl.Series:
        """Return the column `by` as texts without white space around them."""
        return _cut.column(frame, self.by or "", "the names of splits").cast(pl.String).str.strip_chars()

    def _recognised(self, cells: pl.Series) -> pl.Series:
        """Return the split that each cell names, or null."""
        if self.values:
            return _mapped(cells, {value: name for name, values in self.values.items() for value in values})
        return _mapped(cells.str.to_lowercase(), {value: name for name, values in _USUAL.items() for value in values})


def _mapped(values: pl.Series, names: dict[str, str]) -> pl.Series:
    """Replace each value by the split to which `names` maps it; replace it by null if `names` does not contain it."""
    return values.replace_strict(list(names), list(names.values()), default=None, return_dtype=pl.String).alias("split")
