"""Normalises input texts: Unicode normal form, no invisible characters, single spaces, optionally no full-width characters.

Without normalisation, texts that look the same can have different tokens: `é` as one code point or as two, a zero-width space inside
a word, full-width digits typed with a Chinese input method. The cleaner runs on the training texts, and in prediction on every text
that the trained model reads. Joiners (U+200C and U+200D) are kept, because Persian words and many emoji need them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import ClassVar, Literal

import polars as pl

from vertune.cleaners._edited import edited
from vertune.core.kinds import Cleaner
from vertune.core.records import Cleaned, Column

_CONTROL = (*range(0x09), *range(0x0E, 0x1C), *range(0x7F, 0x85), *range(0x86, 0xA0))
"""Control characters that are not white space; they are removed."""
_INVISIBLE = (0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF)
"""Soft hyphen, zero-width spaces, direction marks, invisible operators and the byte order mark; they are removed."""
_REMOVED = dict.fromkeys((*_CONTROL, *_INVISIBLE))
_HALF_WIDTH = {0x3000: 0x20, **{point: point - 0xFEE0 for point in range(0xFF01, 0xFF5F)}}
_SPACES = re.compile(r"\s+")


class Normalise(Cleaner):
    """Cleaner that normalises input texts; the fields below are its options."""

    at_prediction: ClassVar[bool] = True

    form: Literal["NFC", "NFKC"] = "NFC"
    """The Unicode normal form; NFKC also replaces ligatures, superscripts and other compatibility characters."""
    half_width: bool = False
    """Whether to replace full-width letters, digits and punctuation, and the ideographic space, by the equal ASCII characters."""
    spaces: Literal["collapse", "keep"] = "collapse"
    """`collapse` replaces each run of white space, line breaks included, by one space and strips both ends of the text; `keep` changes no
    white space."""

    def clean(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Cleaned:
        """Return all rows with normalised input texts, and a `Note` for the log with the number of changed texts and some examples.

        There is no note if no text was changed. `columns` are the fields of the task.
        """
        return edited(self, frame, columns, "texts were normalised")

    def edit(self, text: str) -> str:
        """Return the text in the normalised form that the options describe."""
        text = text.translate(_REMOVED)
        if self.half_width:
            text = text.translate(_HALF_WIDTH)
        text = unicodedata.normalize(self.form, text).translate(_REMOVED)
        return _SPACES.sub(" ", text).strip() if self.spaces == "collapse" else text
