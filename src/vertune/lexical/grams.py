"""Reads the words and the character n-grams of texts, as 64-bit hashes; knows nothing of vocabularies, labels and models.

Hashes are used instead of the n-grams themselves: NumPy computes them for all texts at once, and a stored vocabulary of hashes does not
show the words of the training texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST = 4_000
"""Number of code points at the beginning of a text that are read; the rest is ignored."""
SIZES = (2, 3, 4, 5)
"""Lengths of the character n-grams; they don't cross white space, which counts as one character before and after each word."""
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Kana and Chinese characters, which are written without spaces: each counts as a word."""
WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")
"""What counts as a word."""
_FACTOR, _PAIR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
"""Odd numbers by which hashes are multiplied, modulo 2 to the 64th."""
_POWERS = np.cumprod(np.full(LONGEST, _FACTOR))
_SPACE = 32


@dataclass(frozen=True, slots=True)
class Grams:
    """The occurrences of n-grams in several texts: for each one, its hash and the index of its text."""

    hashes: NDArray[np.uint64]
    texts: NDArray[np.int64]


def read(texts: Sequence[str]) -> tuple[Grams, Grams]:
    """Return the words and word pairs of the texts, and their character n-grams.

    Case, Unicode form (NFKC) and the amount of white space don't matter.
    """
    padded = [_padded(text) for text in texts]
    joined = "".join(padded)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    owners = np.repeat(np.arange(len(padded)), np.fromiter(map(len, padded), np.int64, len(padded)))
    return _words(joined, codes, owners), _characters(codes, owners)


def _padded(text: str) -> str:
    """Return the normalised text, with one space before, between and after its words."""
    return f" {' '.join(unicodedata.normalize('NFKC', text[:LONGEST]).casefold()[:LONGEST].split())} "


def _words(joined: str, codes: NDArray[np.uint64], owners: NDArray[np.int64]) -> Grams:
    """Return the words, and the pairs of successive words of a text."""
    spans = np.array([match.span() for match in WORD.finditer(joined)], np.int64).reshape(-1, 2)
    if not len(spans):
        return Grams(np.empty(0, np.uint64), np.empty(0, np.int64))
    starts, lengths = spans[:, 0], spans[:, 1] - spans[:, 0]
    firsts = np.cumsum(lengths) - lengths
    offsets = np.arange(firsts[-1] + lengths[-1]) - np.repeat(firsts, lengths)
    words = np.add.reduceat(codes[np.repeat(starts, lengths) + offsets] * _POWERS[offsets], firsts)
    texts = owners[starts]
    together = texts[1:] == texts[:-1]
    pairs = (words[:-1] * _PAIR + words[1:])[together]
    return Grams(np.concatenate([words, pairs]), np.concatenate([texts, texts[1:][together]]))


def _characters(codes: NDArray[np.uint64], owners: NDArray[np.int64]) -> Grams:
    """Return the character n-grams; a space is only their first or last character."""
    spaces = codes == _SPACE
    hashes, texts = [], []
    value, inside = codes, np.ones(len(codes), np.bool_)
    for size in range(2, SIZES[-1] + 1):
        count = max(0, len(codes) - size + 1)
        value = value[:count] * _FACTOR + codes[size - 1 :]
        inside = ~(spaces[:count] & spaces[1 : count + 1]) if size == 2 else inside[:count] & ~spaces[size - 2 : size - 2 + count]
        if size in SIZES:
            hashes.append(value[inside])
            texts.append(owners[:count][inside])
    return Grams(np.concatenate(hashes), np.concatenate(texts))
