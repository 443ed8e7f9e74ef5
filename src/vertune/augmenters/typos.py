"""Makes training rows with typing errors: swapped, missing and doubled characters, and letters of a neighbouring key.

A model that was trained on texts with typing errors loses less accuracy on such texts (Belinkov and Bisk, 2018, "Synthetic and natural
noise both break neural machine translation"). Characters of any script are swapped, deleted and doubled; only Latin letters are
replaced by a neighbouring key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from pydantic import Field

from vertune.augmenters._editing import Replacement, edited_copies
from vertune.core.kinds import Augmenter
from vertune.core.records import Column

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    key: [row[place] for place in (number - 1, number + 1) if 0 <= place < len(row)] for row in _KEYBOARD for number, key in enumerate(row)
}


class Typos(Augmenter):
    """Augmenter that makes training rows by adding typing errors; the fields below are its options."""

    copies: int = Field(default=1, ge=1, le=20)
    """Maximum number of new rows per training row; a new row that equals the training row or another new row is dropped."""
    rate: float = Field(default=0.03, gt=0, le=0.5)
    """Fraction of letters and digits to replace by errors; each text gets at least one error."""

    def augment(self, frame: pl.DataFrame, columns: Sequence[Column], seed: int) -> pl.DataFrame:
        """Return only new rows: copies of the rows of `frame` whose texts have typing errors.

        Words that the expected answers mark, such as entities, are not changed. `columns` are the fields of the task.
        """
        return edited_copies(frame, columns, self.copies, self._errors, f"{self.name} {seed}")

    def _errors(self, text: str, random: np.random.Generator) -> list[Replacement]:
        letters = [place for place, character in enumerate(text) if character.isalnum()]
        if len(letters) < 2:  # an error in a single character would replace the text
            return []
        count = min(max(1, round(self.rate * len(letters))), len(letters) - 1)
        errors: list[Replacement] = []
        for place in sorted(int(place) for place in random.choice(letters, count, replace=False)):
            if not errors or errors[-1].end <= place:
                errors.append(self._error(text, place, random))
        return errors

    def _error(self, text: str, place: int, random: np.random.Generator) -> Replacement:
        character = text[place]
        after = text[place + 1 : place + 2]
        neighbours = _NEIGHBOURS.get(character.lower(), [])
        kinds = ["leave out", "double"] + ["swap"] * (after.isalnum() and after != character) + ["neighbour"] * bool(neighbours)
        kind = kinds[random.integers(len(kinds))]
        if kind == "swap":
            return Replacement(place, place + 2, after + character)
        if kind == "neighbour":
            hit = neighbours[random.integers(len(neighbours))]
            return Replacement(place, place + 1, hit.upper() if character.isupper() else hit)
        return Replacement(place, place + 1, character * 2 if kind == "double" else "")
