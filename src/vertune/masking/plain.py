"""Writes digits, letters and punctuation of full width as those of ASCII, so that masks need to know one form; keeps all positions."""

from __future__ import annotations

import unicodedata

_DASHES, _SPACES, _APOSTROPHES = "\u2010\u2011\u2012\u2013\u2212\ufe63", "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000", "\u2018\u2019"
_KEPT = "，；！？"
"""Punctuation that ends a sentence or a clause in Chinese, which patterns must not take for that of a number."""
_FORMS: dict[int, str] = {0xFF01 + place: chr(0x21 + place) for place in range(94) if chr(0xFF01 + place) not in _KEPT}
_FORMS |= {ord(char): "-" for char in _DASHES} | {ord(char): " " for char in _SPACES} | {ord(char): "'" for char in _APOSTROPHES}
_FORMS |= {code: str(unicodedata.decimal(chr(code))) for code in range(0x660, 0x1_0000) if chr(code).isdecimal()}


def plain(text: str) -> str:
    """Return a text of the same length in which such characters have their ASCII form; digits of other scripts are 0 to 9, too."""
    return text if text.isascii() else text.translate(_FORMS)
