"""Divides rows by time: the oldest rows are used for training, newer ones for validation, the newest for the test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.errors import DataError
from vertune.core.kinds import Split
from vertune.core.records import Column
from vertune.splits import _cut


class Time(Split):
    """A split by the time of each row; the fields below are its options."""

    by: str
    """The column with the time of each row: a date, a datetime, a number, or text such as 2024-05-31 or 2024-05-31T12:30:00."""
    format: str | None = None
    """The format of times that are text, as for `strptime`, such as %d.%m.%Y; None expects numbers or ISO 8601."""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of all rows that is used for the test: the newest ones."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the rows left after the test rows are taken, which is used for validation: the newest of them."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The name of the column that contains the time of each row (option `by`), in a tuple."""
        return (self.by,)

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Return the name of the split of each row; the newest rows are in `test`, and rows with equal times are in the same split.

        Raises DataError if a time is invalid, or if there are fewer different times than splits.
        """
        times, time_of_row = np.unique(self._times(_cut.column(frame, self.by, "its times")), return_inverse=True)
        latest_first = np.bincount(time_of_row, minlength=len(times))[::-1]
        return pl.Series("split", _cut.blocks(latest_first, self.test, self.validation)[::-1][time_of_row], dtype=pl.String)

    def _times(self, values: pl.Series) -> NDArray[np.float64]:
        """Convert times (dates, numbers or texts) to numbers; the larger a number is, the later is the time.

        Raises DataError for a missing time, or for a text that is not a time.
        """
        missing = values.is_null() | (values.cast(pl.String).str.strip_chars() == "").fill_null(False)
        if missing.any():
            raise DataError(f"The column '{self.by}' has no time in {missing.sum()} rows. Fill these cells, or remove the rows.")
        if values.dtype.is_numeric() or values.dtype.is_temporal():
            return values.to_physical().cast(pl.Float64).to_numpy()
        texts = values.cast(pl.String).str.strip_chars()
        numbers = texts.cast(pl.Float64, strict=False)
        if not numbers.null_count() and not self.format:
            return numbers.to_numpy()
        distinct = texts.unique()
        return texts.replace_strict(distinct, [self._seconds(text) for text in distinct], return_dtype=pl.Float64).to_numpy()

    def _seconds(self, text: str) -> float:
        """Return the seconds from 1970-01-01 (UTC) to the time in a text; a time without a time zone is taken as UTC."""
        try:
            found = datetime.strptime(text, self.format) if self.format else datetime.fromisoformat(text)
        except ValueError as error:
            wanted = f"the format {self.format}" if self.format else "ISO 8601, such as 2024-05-31"
            raise DataError(
                f"The column '{self.by}' contains '{text}', which is not a time in {wanted}. Set the option 'format'."
            ) from error
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
