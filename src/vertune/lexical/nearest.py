"""Finds the texts that are most like a text, by the words and word pairs that they share; knows nothing of records and models.

Words count by their rarity (TF-IDF), and the similarity of two texts is the cosine of their vectors, from 0 to 1. NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertune.lexical.grams import read

_AT_ONCE = 2000
"""Number of texts that are read at once, so that their n-grams need little memory."""


@dataclass(frozen=True, slots=True)
class TextIndex:
    """For each word, the texts that contain it."""

    words: NDArray[np.uint64]
    """The hashes of the words and word pairs, sorted."""
    rarity: NDArray[np.float32]
    """The inverse document frequency of each of them."""
    starts: NDArray[np.int64]
    """Where the texts with each word begin in the next two arrays, and where those of the last one end."""
    texts: NDArray[np.int32]
    weights: NDArray[np.float32]
    """The weight of the word in the text; the weights of a text have the length 1."""
    count: int
    """The number of texts."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> TextIndex:
        """Index texts; a text is found by its place."""
        hashes, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for start in range(0, len(texts), _AT_ONCE):
            found = read(texts[start : start + _AT_ONCE])[0]
            hashes.append(found.hashes)
            owners.append(found.texts + start)
        words, numbers = np.unique(np.concatenate(hashes), return_inverse=True)
        keys, counts = np.unique(numbers * len(texts) + np.concatenate(owners), return_counts=True)  # sorted by word, then by text
        columns, rows = np.divmod(keys, max(1, len(texts)))
        frequencies = np.bincount(columns, minlength=len(words))
        rarity = np.log((1 + len(texts)) / (1 + frequencies)) + 1
        weights = (1 + np.log(counts)) * rarity[columns]
        lengths = np.sqrt(np.bincount(rows, weights * weights, len(texts)))
        starts = np.concatenate([[0], np.cumsum(frequencies)])
        scaled = (weights / lengths[rows]).astype(np.float32)
        return cls(words, rarity.astype(np.float32), starts, rows.astype(np.int32), scaled, count=len(texts))

    def nearest(self, text: str, number: int) -> list[tuple[int, float]]:
        """Return the places of at most `number` texts with their similarities, the most similar first; none that shares no word."""
        found, counts = np.unique(read([text])[0].hashes, return_counts=True)
        places = np.minimum(np.searchsorted(self.words, found), max(0, len(self.words) - 1))
        known = self.words[places] == found if len(self.words) else np.zeros(len(found), bool)
        unseen = np.log(1 + self.count) + 1  # a word of no text makes the text less similar to all of them
        weights = (1 + np.log(counts)) * np.where(known, self.rarity[places] if len(self.words) else 0, unseen)
        scores = np.zeros(self.count)
        for place, weight in zip(places[known].tolist(), weights[known].tolist(), strict=True):
            part = slice(self.starts[place], self.starts[place + 1])
            scores[self.texts[part]] += weight * self.weights[part]
        scores /= max(float(np.linalg.norm(weights)), 1e-12)
        order = np.argsort(-scores, kind="stable")[:number]
        return [(int(place), min(1.0, float(scores[place]))) for place in order if scores[place] > 0]
