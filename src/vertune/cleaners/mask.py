"""Replaces personal data and secrets in texts by placeholders such as `<PHONE_1>`, before anything else keeps or learns the texts.

Equal values of a text have the same number, so that a model can still learn from them. What the placeholders stand for is not stored. The
cleaner runs on the training texts, and in prediction on every text that the trained model reads. Name it first: rows that an earlier
step rejects are listed as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Self

import polars as pl
from pydantic import Field, SerializeAsAny, model_validator

from vertune.cleaners._edited import edited
from vertune.core.kinds import Cleaner, Mask
from vertune.core.records import Cleaned, Column
from vertune.masking import Masker, standard_names


class MaskData(Cleaner):
    """Cleaner that masks personal data in input texts; the fields below are its options."""

    at_prediction: ClassVar[bool] = True

    masks: list[SerializeAsAny[Mask]] = Field(default_factory=standard_names, validate_default=True, min_length=1)
    """What is masked: names of masks, or masks with options. Where two find overlapping places, the longer place counts."""
    patterns: dict[str, str] = Field(default={})
    """Further things to mask: regular expressions, each under the name that its placeholders get, such as `CONTRACT: 'CT-\\d{6}'`."""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        _ = self.masker  # raises ConfigError if an expression can't be read
        return self

    @cached_property
    def masker(self) -> Masker:
        """What replaces the places that the masks find."""
        own = [Mask.model_validate({"name": "regex", "kind": kind, "expression": each}) for kind, each in self.patterns.items()]
        return Masker([*own, *self.masks])

    def clean(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Cleaned:
        """Return all rows with masked input texts, and a note with the number of changed texts and some of them, masked.

        `columns` are the fields of the task.
        """
        return edited(self, frame, columns, "texts contained personal data or secrets, which were masked", show_original=False)

    def edit(self, text: str) -> str:
        """Return the text with placeholders."""
        return self.masker.text(text)
