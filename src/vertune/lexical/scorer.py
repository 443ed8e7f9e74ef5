"""A linear layer on sparse vectors, with few weights of one byte each; knows nothing of texts and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.lexical.vectors import Vectors


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
        firsts = self.starts[vectors.columns]
        lengths = self.starts[vectors.columns + 1] - firsts
        ends = np.cumsum(lengths)
        places = np.repeat(firsts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
        cells = self.outputs[places].astype(np.int64)
        if count > 1:
            cells += np.repeat(vectors.rows * size, lengths)
        sums = np.bincount(cells, self.weights[places] * np.repeat(vectors.values, lengths), count * size)
        scores: NDArray[np.float64] = np.asarray(sums.reshape(count, size) * self.scales + self.intercepts, np.float64)
        return scores
