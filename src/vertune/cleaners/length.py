"""Drops rows with an input text that is too short or too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import polars as pl
from pydantic import Field, model_validator

from vertune.cleaners._reject import reject
from vertune.core.columns import named
from vertune.core.errors import ConfigError
from vertune.core.kinds import Cleaner
from vertune.core.records import Cleaned, Column


class Length(Cleaner):
    """Cleaner that drops rows with too short or too long texts. Leading and trailing white space is not counted."""

    least: int = Field(default=1, ge=0)
    """Minimum length of an input text, in characters."""
    most: int | None = Field(default=None, ge=1)
    """Maximum length of an input text, in characters; None means no limit."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most is not None and self.most < self.least:
            raise ConfigError(
                f"The cleaner 'length' keeps texts of at least {self.least} and at most {self.most} characters, so it would drop "
                "every text. Swap the options 'least' and 'most'."
            )
        return self

    def clean(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Cleaned:
        """Keep the rows whose input texts all have an allowed length, and reject the other rows.

        A missing text (null) is not rejected here, because the task checks for missing values. `columns` are the fields of the task.
        """
        texts = [column.name for column in columns if column.role == "input" and column.type == "text"]
        texts = [name for name in texts if frame.schema.get(name) == pl.String]
        reasons = []
        for name in texts:
            size = named(name).str.strip_chars().str.len_chars()
            reasons.append(pl.when(size < self.least).then(pl.lit(f"{name} has fewer than {self.least} characters")))
            if self.most is not None:
                reasons.append(pl.when(size > self.most).then(pl.lit(f"{name} has more than {self.most} characters")))
        return reject(frame, pl.coalesce(reasons), texts) if reasons else Cleaned(frame)
