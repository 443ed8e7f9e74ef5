"""Converts texts and pairs of texts to TF-IDF vectors over a fixed vocabulary; knows nothing of labels and models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vertune.lexical.grams import read


class Vectors(NamedTuple):
    """Sparse vectors of several records: for each entry that is not 0, its row, its column and its value; sorted by row."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The n-grams that are counted, as sorted hashes, with their inverse document frequencies."""

    grams: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    """For each n-gram, 1 if it consists of words, 0 if it consists of characters."""
    rarity: NDArray[np.float32]
    """The inverse document frequency of each n-gram."""

    def __len__(self) -> int:
        return len(self.grams)

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
        """Return the vectors of texts."""
        size, count = len(self), len(texts)
        if not size:
            return Vectors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        words, characters = read(texts)
        hashes = np.concatenate([words.hashes, characters.hashes])
        places = np.searchsorted(self.grams, hashes)
        places[places == size] = 0
        found = self.grams[places] == hashes
        keys = places[found]
        if count > 1:
            keys += np.concatenate([words.texts, characters.texts])[found] * size
        keys.sort()
        differs = np.empty(len(keys), np.bool_)  # from the entry before
        differs[:1] = True
        np.not_equal(keys[1:], keys[:-1], out=differs[1:])
        begins = differs.nonzero()[0]
        counts = np.empty(len(begins), np.int64)
        counts[-1:] = len(keys) - begins[-1:]
        np.subtract(begins[1:], begins[:-1], out=counts[:-1])
        rows, columns = np.divmod(keys[begins], size) if count > 1 else (np.zeros(len(begins), np.int64), keys[begins])
        values = (1 + np.log(counts)) * self.rarity[columns]
        parts = 2 * rows + self.kinds[columns]
        norms = np.sqrt(np.bincount(parts, values * values, 2 * count))
        return Vectors(rows, columns, values / norms[parts])


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
