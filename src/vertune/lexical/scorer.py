"""A linear layer on sparse vectors, with few weights of one byte each; knows nothing of texts and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.lexical.vectors import Vectors

_BYTES = 5_000_000
"""Largest memory of a model of words with a table of all weights; without a table, scores are computed from the stored weights."""
_PER_COLUMN = 21
"""Bytes of a column beside its weights: where they start, and the hash, the kind and the rarity of an n-gram in the vocabulary."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """The weights that are not 0, sorted by the column of the vector that they multiply."""

    starts: NDArray[np.int64]
    """For each column of the vectors, the index of its first weight; and at the end, the number of weights."""
    outputs: NDArray[Any]
    """The output to which each weight belongs."""
    weights: NDArray[Any]
    """The weights, int8 or floating-point numbers, each divided by the scale of its output."""
    scales: NDArray[np.float32]
    """For each output, the number by which its weights are multiplied."""
    intercepts: NDArray[np.float32]
    table: NDArray[Any] | None = field(init=False, repr=False, compare=False, default=None)
    """All weights, shape (columns, outputs), if they are few: the weights of a column stand side by side, which saves most of the time."""

    def __post_init__(self) -> None:
        """Lay the weights out as a table, if it is small enough."""
        columns, outputs = len(self.starts) - 1, len(self.intercepts)
        stored = self.weights.nbytes + self.outputs.nbytes + columns * _PER_COLUMN
        if stored + columns * outputs * self.weights.itemsize <= _BYTES:
            table = np.zeros((columns, outputs), self.weights.dtype)
            table[np.repeat(np.arange(columns), np.diff(self.starts)), self.outputs] = self.weights
            object.__setattr__(self, "table", table)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are stored, by name."""
        return {
            "starts": self.starts.astype(np.int32), "outputs": self.outputs, "weights": self.weights, "scales": self.scales,
            "intercepts": self.intercepts,
        }  # fmt: skip

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Scorer:
        """Return the layer with these arrays, which `arrays` returned; raise KeyError if one is missing."""
        return cls(arrays["starts"].astype(np.int64), arrays["outputs"], arrays["weights"], arrays["scales"], arrays["intercepts"])

    def scores(self, vectors: Vectors, count: int) -> NDArray[np.float64]:
        """Return the scores of `count` vectors, shape (count, outputs)."""
        size = len(self.intercepts)
        sums = self._from_table(self.table, vectors, count) if self.table is not None else self._from_weights(vectors, count)
        scores: NDArray[np.float64] = np.asarray(sums.reshape(count, size) * self.scales + self.intercepts, np.float64)
        return scores

    def _from_table(self, table: NDArray[Any], vectors: Vectors, count: int) -> NDArray[np.float64]:
        """Return the weighted sums of rows of the table, one vector after the other."""
        if count == 1:
            return np.asarray(vectors.values @ table.take(vectors.columns, 0).astype(np.float64))
        sums, ends = np.zeros((count, len(self.intercepts))), np.searchsorted(vectors.rows, np.arange(count + 1)).tolist()
        for row, (start, end) in enumerate(pairwise(ends)):
            sums[row] = vectors.values[start:end] @ table.take(vectors.columns[start:end], 0).astype(np.float64)
        return sums

    def _from_weights(self, vectors: Vectors, count: int) -> NDArray[np.float64]:
        """Return the same sums from the weights that are not 0."""
        size = len(self.intercepts)
        firsts = self.starts[vectors.columns]
        lengths = self.starts[vectors.columns + 1] - firsts
        ends = np.cumsum(lengths)
        places = np.repeat(firsts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
        cells = self.outputs[places].astype(np.int64)
        if count > 1:
            cells += np.repeat(vectors.rows * size, lengths)
        return np.asarray(np.bincount(cells, self.weights[places] * np.repeat(vectors.values, lengths), count * size), np.float64)
