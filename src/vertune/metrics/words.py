"""Splits a text into words or, in scripts without spaces such as Chinese, into characters; independent of tokenizers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

# Thai, Lao, Tibetan, Myanmar, Khmer, Tai and Balinese to Javanese scripts; Hangul, whose particles are written onto the noun;
# kana, bopomofo, Han with its extensions, halfwidth kana
_UNSPACED = (
    "\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9df\uaa60-\uaa7f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3040-\u318f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7ff"
    "\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return three regular expressions: for a word; for a word or any other visible character; for an unspaced character.

    A word is a run of letters and digits in a script that is written with spaces. An unspaced character is one of a
    script that is written without spaces, such as Chinese.
    """
    unspaced = re.compile(f"[{_UNSPACED}]")
    marks = "".join(char for char in map(chr, range(0x300, 0x10000)) if unicodedata.category(char)[0] == "M" and not unspaced.match(char))
    # `re` does not count accents and vowel signs as letters, but they never end a word
    word = f"(?:[^\\W_{_UNSPACED}]|[{marks}])+"
    return re.compile(word), re.compile(f"{word}|\\S"), unspaced


def runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end, in code points, of each word that is written with spaces around it.

    Such a word is a run of letters and digits; scripts without spaces, such as Chinese, are skipped.
    """
    for match in _patterns()[0].finditer(text):
        yield match.span()


def pieces(text: str) -> list[tuple[int, int]]:
    """Split a text into words and other visible characters; return the start and end of each, in code points.

    A word is a run of letters and digits in a script that is written with spaces. Punctuation marks, and characters of
    scripts without spaces, such as Chinese, are returned one by one.
    """
    return [match.span() for match in _patterns()[1].finditer(text)]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation; in scripts without spaces, each character is a word."""
    lower = text.lower()
    visible = (lower[start:end] for start, end in pieces(lower))
    return [piece for piece in visible if piece[0].isalnum()]


def terms(text: str) -> list[str]:
    """Split a text into terms for a search index.

    The terms are the words in lower case. In scripts without spaces, such as Chinese, they are single characters and
    pairs of adjacent characters.
    """
    unspaced = _patterns()[2]
    single = words(text)
    pairs = [a + b for a, b in pairwise(single) if unspaced.fullmatch(a) and unspaced.fullmatch(b)]
    return single + pairs


def split_unspaced(text: str) -> list[str]:
    """Split a text at spaces, and before and after every character of a script without spaces, such as Chinese."""
    return _patterns()[2].sub(lambda match: f" {match[0]} ", text).split()
