"""Converts texts and pairs of texts to TF-IDF vectors over a fixed vocabulary; knows nothing of labels and models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vertune.lexical.grams import Grams, read


class Vectors(NamedTuple):
    """Sparse vectors of several records: for each entry that is not 0, its row, its column and its value; sorted by row."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The n-grams that are counted, as sorted hashes, with their inverse document frequencies."""

    words: NDArray[np.uint64]
    characters: NDArray[np.uint64]
    rarity: NDArray[np.float32]
    """The inverse document frequency of each n-gram: first those of the words, then those of the characters."""

    def __len__(self) -> int:
        return len(self.words) + len(self.characters)

    def columns(self, fields: int) -> int:
        """Return the length of the vectors of records with so many texts."""
        return len(self) if fields == 1 else 4 * len(self) + 1

    def vectors(self, texts: Sequence[Sequence[str]]) -> Vectors:
        """Return the vectors of records; `texts` contains the texts of each field.

        The vector of a text consists of a part for words and a part for characters, each of length 1 (sublinear TF-IDF). The vector of
        a pair of texts consists of the vectors of both texts, their products, their absolute differences, and the sum of the products.
        """
        sides = [self._side(side) for side in texts]
        return sides[0] if len(sides) == 1 else _pairs(sides[0], sides[1], len(self), len(texts[0]))

    def _side(self, texts: Sequence[str]) -> Vectors:
        words, characters = read(texts)
        parts = [self._part(words, self.words, 0, len(texts)), self._part(characters, self.characters, len(self.words), len(texts))]
        rows, columns, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if len(texts) == 1:
            return Vectors(rows, columns, values)
        order = np.argsort(rows, kind="stable")
        return Vectors(rows[order], columns[order], values[order])

    def _part(self, grams: Grams, known: NDArray[np.uint64], first: int, count: int) -> Vectors:
        """Return the vectors of one kind of n-gram, whose columns begin with `first`."""
        if not len(known):
            return Vectors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        places = np.searchsorted(known, grams.hashes)
        places[places == len(known)] = 0
        found = known[places] == grams.hashes
        keys = places[found] if count == 1 else grams.texts[found] * len(known) + places[found]
        keys.sort()
        begins = np.flatnonzero(np.concatenate([keys[:1] == keys[:1], keys[1:] != keys[:-1]]))
        counts = np.concatenate([begins[1:], [len(keys)]]) - begins if len(keys) else begins
        keys = keys[begins]
        rows, places = (np.zeros(len(keys), np.int64), keys) if count == 1 else np.divmod(keys, len(known))
        places += first
        values = (1 + np.log(counts)) * self.rarity[places]
        norms = np.sqrt(np.bincount(rows, values * values, count))
        return Vectors(rows, places, values / norms[rows])


def _pairs(one: Vectors, other: Vectors, width: int, count: int) -> Vectors:
    """Return the vectors of pairs of texts; `width` is the length of the vector of one text."""
    sides = [side.rows * width + side.columns for side in (one, other)]
    keys = np.union1d(*sides)
    values = np.zeros((2, len(keys)))
    for place, side in enumerate((one, other)):
        values[place, np.searchsorted(keys, sides[place])] = side.values
    rows, columns = np.divmod(keys, max(1, width))
    products = values[0] * values[1]
    blocks = [*values, products, np.abs(values[0] - values[1])]
    similarity = np.bincount(rows, products, count)
    stacked = np.concatenate([*blocks, similarity])
    all_rows = np.concatenate([np.tile(rows, 4), np.arange(count)])
    all_columns = np.concatenate([*(columns + block * width for block in range(4)), np.full(count, 4 * width)])
    used = np.flatnonzero(stacked)
    used = used[np.argsort(all_rows[used], kind="stable")]
    return Vectors(all_rows[used], all_columns[used], stacked[used])
