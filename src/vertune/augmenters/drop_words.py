"""Makes training rows by deleting words at random, so that a model does not depend on single words.

This is the random deletion of EDA (Wei and Zou, 2019, "EDA: Easy data augmentation techniques for boosting performance on text
classification tasks"). In scripts without spaces between words (Chinese, Japanese), single characters are deleted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl
from pydantic import Field

from vertune.augmenters._editing import Replacement, edited_copies
from vertune.core.kinds import Augmenter
from vertune.core.records import Column

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_CJK}]\s*|[^\s{_CJK}]+\s*")
"""A word, or a single Chinese or Japanese character, with the white space after it."""


class DropWords(Augmenter):
    """Augmenter that makes training rows by deleting random words; the fields below are its options."""

    copies: int = Field(default=1, ge=1, le=20)
    """Maximum number of new rows per training row; a new row that equals the training row or another new row is dropped."""
    rate: float = Field(default=0.1, gt=0, lt=1)
    """Probability with which each word is deleted; at least one word per text is deleted, and at least one is kept."""

    def augment(self, frame: pl.DataFrame, columns: Sequence[Column], seed: int) -> pl.DataFrame:
        """Return only new rows: copies of the rows of `frame` in which some words are deleted.

        Words that the expected answers mark, such as entities, are kept. `columns` are the fields of the task.
        """
        return edited_copies(frame, columns, self.copies, self._dropped, f"{self.name} {seed}")

    def _dropped(self, text: str, random: np.random.Generator) -> list[Replacement]:
        words = [found.span() for found in _WORDS.finditer(text)]
        if len(words) < 2:
            return []
        dropped = random.random(len(words)) < self.rate
        if not dropped.any():
            dropped[random.integers(len(words))] = True
        if dropped.all():
            dropped[random.integers(len(words))] = False
        return [Replacement(start, end, "") for (start, end), drop in zip(words, dropped, strict=True) if drop]
