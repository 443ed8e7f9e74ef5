"""Describes each unit of a text (a word, or a character of a script without spaces) by hashes; knows nothing of models.

A unit is described by its word with and without case, its shape (`Xx` for `Paris`, `X0` for `B2`), its beginning and end, its neighbours,
and the known span that it belongs to. Base models without case don't see most of these. As in `grams`, hashes stand for the words
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_NONE, _WORD, _LOWER, _SHAPE, _BEGIN, _END, _KNOWN, _CASED = 0, 1, 2, 3, 4, 8, 12, 13
"""Columns of the table of units. `_BEGIN` and `_END` are the first of four columns each, for 1 to 4 characters."""
_COLUMNS = 14
_TEMPLATES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, _WORD),), ((0, _LOWER),), ((0, _SHAPE),), ((0, _CASED), (0, _SHAPE)),
    *(((0, first + size),) for first in (_BEGIN, _END) for size in range(4)),
    *(((place, _LOWER),) for place in (-2, -1, 1, 2)), ((-1, _SHAPE),), ((1, _SHAPE),),
    ((-2, _LOWER), (-1, _LOWER)), ((-1, _LOWER), (0, _LOWER)), ((-1, _LOWER), (1, _LOWER)), ((0, _LOWER), (1, _LOWER)),
    ((1, _LOWER), (2, _LOWER)), ((-1, _SHAPE), (0, _SHAPE)), ((0, _SHAPE), (1, _SHAPE)), ((-1, _SHAPE), (0, _SHAPE), (1, _SHAPE)),
    ((0, _KNOWN),), ((-1, _KNOWN), (0, _KNOWN)), ((0, _KNOWN), (1, _KNOWN)), ((0, _KNOWN), (0, _SHAPE)),
)  # fmt: skip
"""Each description of a unit: up to three pairs (place, column), where place 1 is the unit after it."""
FEATURES = len(_TEMPLATES)
"""Number of descriptions of a unit."""
_REACH = 2
"""Number of units before and after a unit that describe it."""
_LONGEST_WORD = 60
LONGEST = 12
"""Largest number of units of a known span."""
_FACTOR, _PAIR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
"""Odd numbers by which hashes are multiplied, modulo 2 to the 64th."""
_FOLD = np.uint64(32)
_SALTS = np.arange(1, FEATURES + 1, dtype=np.uint64) * _PAIR
_PLACES = np.array([[template[part][0] if part < len(template) else 0 for template in _TEMPLATES] for part in range(3)])
_PARTS = np.array([[template[part][1] if part < len(template) else _NONE for template in _TEMPLATES] for part in range(3)])


_STEP, _BITS = int(_PAIR), (1 << 64) - 1


@dataclass(frozen=True)
class KnownSpans:
    """Spans that are labelled in the training texts, as sorted hashes of their units without case."""

    hashes: NDArray[np.uint64]
    labels: NDArray[np.uint16]
    """The index of the label of each span."""
    firsts: NDArray[np.uint32]
    """The hashes of the units with which spans begin."""

    @cached_property
    def _index(self) -> tuple[dict[int, int], frozenset[int]]:
        return dict(zip(self.hashes.tolist(), self.labels.tolist(), strict=True)), frozenset(self.firsts.tolist())

    def find(self, lower: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return the length, the first unit and the hash of each known span in a text, given by `lower_hashes`; spans may overlap."""
        labels, firsts = self._index
        found = []
        for start, first in enumerate(lower):
            if first not in firsts:
                continue
            value = 0
            for length, unit in enumerate(lower[start : start + LONGEST], start=1):
                value = _longer(value, unit)
                if value in labels:
                    found.append((length, start, value))
        return found

    def tags(self, lower: Sequence[int]) -> list[int]:
        """Return the BIO tag that the known spans give each unit, as `bio.spans` numbers them.

        The text is searched from left to right; the longest span that begins at a unit counts, and the search goes on after it.
        """
        tags, after = [0] * len(lower), 0
        for start, length, value in sorted(((start, length, value) for length, start, value in self.find(lower)), key=_longest_first):
            if start >= after:
                begin = 1 + 2 * self._index[0][value]
                tags[start : start + length] = [begin, *[begin + 1] * (length - 1)]
                after = start + length
        return tags

    def positions(self, lower: Sequence[int]) -> list[int]:
        """Return 0 for units outside of known spans; for others, a number of the label and of the place in the span.

        The place is the beginning, the inside or the end of the span, or a single unit is the whole span. Of several known spans, the
        longest counts.
        """
        marks = [0] * len(lower)
        for length, start, value in sorted(self.find(lower)):
            base = 4 * self._index[0][value]
            marks[start : start + length] = [base + 1, *[base + 2] * (length - 2), base + 3] if length > 1 else [base + 4]
        return marks


def describe(texts: Sequence[Sequence[str]], known: KnownSpans) -> NDArray[np.uint64]:
    """Return the descriptions of the units of several texts, one text after another, shape (units, FEATURES)."""
    words = [[_word(word[:_LONGEST_WORD]) for word in text] for text in texts]
    table, rows = _table(words)
    if len(rows):
        table[rows, _KNOWN] = [mark for text in words for mark in known.positions([word[1] for word in text])]
        cased = [any(map(str.islower, text)) for text in texts]
        table[rows, _CASED] = np.repeat(np.array(cased, np.uint64) + np.uint64(1), [len(text) for text in texts])
    value = np.broadcast_to(_SALTS, (len(rows), FEATURES))
    for places, columns in zip(_PLACES, _PARTS, strict=True):
        value = (value ^ table[rows[:, None] + places, columns]) * _FACTOR
        value ^= value >> _FOLD
    return value


def lower_hashes(text: Sequence[str]) -> list[int]:
    """Return the hashes of the units of a text without case."""
    return [_word(word[:_LONGEST_WORD])[1] for word in text]


def span_hash(lower: Sequence[int]) -> int:
    """Return the hash of a span, from those of its units."""
    return reduce(_longer, lower, 0)


def _longest_first(span: tuple[int, int, int]) -> tuple[int, int]:
    start, length, _ = span
    return start, -length


def _longer(value: int, unit: int) -> int:
    """Return the hash of a span that is longer by one unit."""
    return (value * _STEP + unit) & _BITS


def _table(texts: Sequence[Sequence[tuple[int, ...]]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return a table of the units with empty rows before, between and after the texts, and the rows of the units."""
    gaps = np.repeat(np.arange(1, len(texts) + 1) * _REACH, [len(text) for text in texts])
    rows = gaps + np.arange(len(gaps))
    table = np.zeros((len(rows) + _REACH * (len(texts) + 1), _COLUMNS), np.uint64)
    if len(rows):
        table[rows, _WORD:_KNOWN] = [word for text in texts for word in text]
    return table, rows


@lru_cache(maxsize=16_384)
def _word(word: str) -> tuple[int, ...]:
    """Return the entries of the table that depend on the word alone; none of them is 0."""
    lower = word.lower()
    shape = ""
    for char in word:
        kind = "X" if char.isupper() else "x" if char.islower() else "0" if char.isdigit() else "c" if char.isalpha() else char
        shape += kind if shape[-2:] != kind * 2 else ""
    parts = [word, lower, shape, *(lower[:size] for size in range(1, 5)), *(lower[-size:] for size in range(1, 5))]
    return tuple(crc32(part.encode("utf-8", "surrogatepass")) or 1 for part in parts)
