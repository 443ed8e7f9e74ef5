"""The data says which row belongs where: by its files, or by a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from vertune.core.errors import DataError
from vertune.core.kinds import Split
from vertune.core.records import Column
from vertune.splits import _cut

_USUAL = {
    "train": ["train", "training"],
    "validation": ["validation", "valid", "val", "dev", "development"],
    "test": ["test", "testing"],
    "unused": ["unused"],
}


class Given(Split):
    """Options of a division that the data carries."""

    by: str | None = None
    """The column that names the split of a row; None where files say it, so that all rows here are for training."""
    values: dict[Literal["train", "validation", "test"], list[str]] = Field(default={})
    """Which values of the column mean which split; rows with others are not used. Nothing: the usual names are known."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training rows that are cut for validation where the data names none."""

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, values: object) -> object:
        """Take numbers as they are written, because a column of folds is often numbered."""
        if not isinstance(values, dict):
            return values
        return {name: [str(value) for value in found] if isinstance(found, list) else found for name, found in values.items()}

    @property
    def reads(self) -> tuple[str, ...]:
        """The column that names the splits."""
        return (self.by,) if self.by else ()

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Names of splits, with `unused`; where none is for validation, it is cut from the training rows. DataError for an unknown name."""
        names = self._named(frame)
        if not self.validation or (names == "validation").any():
            return names
        training = names == "train"
        cut = _cut.shares(frame.filter(training), columns, {"validation": self.validation})
        return names.scatter(training.arg_true(), cut)

    def _named(self, frame: pl.DataFrame) -> pl.Series:
        if not self.by:
            return pl.Series("split", ["train"], dtype=pl.String).new_from_index(0, frame.height)
        given = _cut.column(frame, self.by, "the names of splits").cast(pl.String).str.strip_chars()
        if self.values:
            return _mapped(given, {value: name for name, values in self.values.items() for value in values}).fill_null("unused")
        found = _mapped(given.str.to_lowercase(), {value: name for name, values in _USUAL.items() for value in values})
        unknown = given.filter(found.is_null()).unique().sort().head(5).to_list()
        if unknown:
            shown = ", ".join("nothing" if value is None else f"'{value}'" for value in unknown)
            raise DataError(
                f"The column '{self.by}' must name splits (train, validation, test, unused), but holds {shown}. "
                "Say what its values mean with the option 'values': {train: [...], validation: [...], test: [...]}."
            )
        return found


def _mapped(values: pl.Series, names: dict[str, str]) -> pl.Series:
    return values.replace_strict(list(names), list(names.values()), default=None, return_dtype=pl.String).alias("split")
