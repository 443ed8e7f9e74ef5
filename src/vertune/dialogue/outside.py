"""Signals of whether a message is outside of all intents, which a regression combines; knows nothing of models and texts.

The signals are of two sorts: what a model of intents says (its highest probability, Hendrycks and Gimpel 2017; entropy; energy of logits,
Liu, Wang, Owens and Li 2020), and where the vector of a message is (cosine of the nearest training rows, Sun, Ming, Zhu and Li 2022;
relative Mahalanobis distance, Ren et al. 2021), also compared with messages that are known to be outside. A logistic regression
(`regression.py`) makes of them the probability of being outside.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Places = NDArray[np.integer[Any]]
SIGNALS = (
    "confidence", "margin", "entropy", "energy", "nearest", "neighbours", "own", "agreement", "distance", "relative_distance",
    "outside_nearest", "outside_neighbours", "contrast", "contrast_of_neighbours",
)  # fmt: skip
"""Names of the signals, in the order of their columns."""
_NEIGHBOURS = 10
"""Number of training rows that are compared with a message."""
_FEW_NEIGHBOURS = 5
"""Number of rows inside and outside between which a message is compared."""
_ROWS = 4_000
"""Largest number of training rows that are kept; more are drawn evenly from the intents."""
_SHRINKAGE = 0.1
"""Share of the mean variance in the covariance of vectors, so that it can be inverted for few rows."""
_TINY = 1e-12
_FEWEST = 10
"""Fewest messages that are known to be outside with which others are compared."""


@dataclass(frozen=True)
class Reference:
    """Where the training rows of intents are among vectors."""

    rows: NDArray[np.float16]
    """Vectors of length 1, shape (rows, width)."""
    labels: NDArray[np.int32]
    """The place of the intent of each row."""
    means: NDArray[np.float32]
    """The mean of the vectors of each intent, as `whitening` maps them, shape (intents, width)."""
    whitening: NDArray[np.float32]
    """The matrix by which vectors are multiplied, so that the rows of an intent have the covariance 1."""
    centre: NDArray[np.float32]
    """The mean of all vectors."""
    overall: NDArray[np.float32]
    """The same matrix for all rows as one."""
    outside: NDArray[np.float16]
    """The `rows` of messages that are known to be outside; maybe none."""

    @classmethod
    def of(cls, vectors: Floats, labels: Places, outside: Floats | None = None, seed: int = 0) -> Reference:
        """Return the reference of training rows: vectors (rows, width), and the place of the intent of each.

        `outside` are vectors of messages that are known to be outside of all intents; if there are fewer than 10, they are not used.
        """
        scaled = _scaled(vectors)
        intents = int(labels.max()) + 1
        counts = np.maximum(np.bincount(labels, minlength=intents), 1)
        means = np.zeros((intents, scaled.shape[1]))
        np.add.at(means, labels, scaled)
        means /= counts[:, None]
        whitening, overall = _whitening(scaled - means[labels]), _whitening(scaled - scaled.mean(0))
        kept = _spread(labels, seed)
        known = vectors[:0] if outside is None or len(outside) < _FEWEST else outside
        return cls(
            rows=scaled[kept].astype(np.float16),
            labels=labels[kept].astype(np.int32),
            means=(means @ whitening).astype(np.float32),
            whitening=whitening.astype(np.float32),
            centre=scaled.mean(0).astype(np.float32),
            overall=overall.astype(np.float32),
            outside=_scaled(known[:_ROWS]).astype(np.float16),
        )

    def signals(self, vectors: Floats, predicted: Places, own: Places | None = None) -> Floats:
        """Return the ten signals of vectors, of which a model predicts these intents, shape (rows, 10).

        The last four are NaN without known messages outside. `own` (rows,) is the place of a vector among these, or -1: a message is not
        compared with itself.
        """
        scaled = _scaled(vectors).astype(np.float32)
        similar, outside, towards, white, rows = np.split(scaled @ self._multiplied, self._bounds, axis=1)
        near = _nearest(similar, _NEIGHBOURS)
        closeness = np.take_along_axis(similar, near, 1)
        agrees = self.labels[near] == predicted[:, None]
        same = np.where(self.labels[None, :] == predicted[:, None], similar, -1.0).max(1)
        distances = (white**2).sum(1)[:, None] - 2 * towards + self._squares
        distance, background = np.sqrt(np.maximum(distances.min(1), 0)), np.sqrt(((rows - self._moved) ** 2).sum(1))
        columns = [closeness.max(1), closeness.mean(1), same, agrees.mean(1), distance, distance - background]
        return np.stack([*columns, *self._contrasts(outside, closeness, own)], 1).astype(float)

    @cached_property
    def _multiplied(self) -> NDArray[np.float32]:
        """All by which a vector is multiplied, as one matrix: rows, messages outside, whitened means, and both ways of whitening."""
        parts = [self.rows, self.outside, self.means @ self.whitening.T, self.whitening.T, self.overall.T]
        return np.concatenate([part.astype(np.float32) for part in parts]).T

    @cached_property
    def _bounds(self) -> NDArray[np.intp]:
        """Where the parts of `_multiplied` end."""
        return np.cumsum([len(part) for part in (self.rows, self.outside, self.means, self.whitening)])

    @cached_property
    def _squares(self) -> NDArray[np.float32]:
        squares: NDArray[np.float32] = (self.means**2).sum(1)
        return squares

    @cached_property
    def _moved(self) -> NDArray[np.float32]:
        """The centre, as `overall` maps it."""
        moved: NDArray[np.float32] = self.centre @ self.overall
        return moved

    def _contrasts(self, similar: Floats, inside: Floats, own: Places | None) -> list[Floats]:
        """Return how near messages outside are, the nearest and some, and how much nearer those inside are.

        `similar` are the cosines of messages outside, shape (rows, messages outside), `inside` the largest ones of training rows.
        """
        if not len(self.outside):
            return [np.full(len(inside), np.nan)] * 4
        if own is not None:
            places = np.flatnonzero((own >= 0) & (own < len(self.outside)))
            similar[places, own[places]] = -1.0
        near = np.take_along_axis(similar, _nearest(similar, _FEW_NEIGHBOURS), 1)
        few = -np.sort(-inside, axis=1)[:, :_FEW_NEIGHBOURS].mean(1)
        return [near.max(1), near.mean(1), inside.max(1) - near.max(1), few - near.mean(1)]

    def as_json(self) -> dict[str, Any]:
        """Return the arrays as a dict that `read` takes: shapes, types and bytes in base 64."""
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: _packed(array) for name, array in arrays.items()}

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Reference:
        """Return the reference that `as_json` wrote."""
        return cls(**{name: _unpacked(stored[name]) for name in cls.__dataclass_fields__})


def signals(
    probabilities: Floats,
    *,
    logits: Floats | None = None,
    vectors: Floats | None = None,
    reference: Reference | None = None,
    own: Places | None = None,
) -> Floats:
    """Return the signals of messages, shape (rows, signals), in the order of `SIGNALS`; NaN where logits or vectors are missing.

    `probabilities` and `logits` have the shape (rows, intents), `vectors` (rows, width). `own` (rows,) is, for messages that the reference
    knows to be outside, their places there, and -1 for all others; `own_places` returns it.
    """
    ordered = -np.sort(-probabilities, axis=1)
    top, second = ordered[:, 0], ordered[:, 1] if ordered.shape[1] > 1 else np.zeros(len(ordered))
    logarithms = np.log(np.maximum(probabilities, _TINY))
    result = np.full((len(probabilities), len(SIGNALS)), np.nan)
    result[:, 0] = np.log(np.maximum(top, _TINY)) - np.log(np.maximum(1 - top, 1e-6))
    result[:, 1] = np.log(np.maximum(top, _TINY)) - np.log(np.maximum(second, 1e-6))
    result[:, 2] = -(probabilities * logarithms).sum(1)
    if logits is not None:
        highest = logits.max(1)
        result[:, 3] = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    if vectors is not None and reference is not None:
        result[:, 4:] = reference.signals(vectors, probabilities.argmax(1), own)
    return result


def own_places(outside: NDArray[np.bool_]) -> Places:
    """Return the places of rows among those that are outside, -1 for the others."""
    places: Places = np.where(outside, np.cumsum(outside) - 1, -1)
    return places


def _scaled(vectors: Floats) -> Floats:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
    scaled: Floats = vectors / lengths
    return scaled


def _nearest(similar: Floats, count: int) -> NDArray[np.intp]:
    """Return the places of the largest values of each row."""
    count = min(count, similar.shape[1])
    return np.argpartition(-similar, count - 1, axis=1)[:, :count]


def _whitening(deviations: Floats) -> Floats:
    """Return the matrix by which deviations get the covariance 1, after shrinking their covariance to a multiple of the unit matrix."""
    width = deviations.shape[1]
    covariance = deviations.T @ deviations / max(1, len(deviations))
    mean = float(np.trace(covariance)) / width + _TINY
    values, directions = np.linalg.eigh((1 - _SHRINKAGE) * covariance + _SHRINKAGE * mean * np.eye(width))
    matrix: Floats = directions / np.sqrt(np.maximum(values, _TINY))
    return matrix


def _spread(labels: Places, seed: int) -> NDArray[np.int64]:
    """Return the places of at most `_ROWS` rows, as many of each intent as there are, up to a common number."""
    places = np.random.default_rng(seed).permutation(len(labels))
    turn = np.zeros(len(labels), int)
    seen: dict[int, int] = {}
    for place in places.tolist():
        label = int(labels[place])
        turn[place] = seen[label] = seen.get(label, -1) + 1
    return np.sort(places[np.argsort(turn[places], kind="stable")][:_ROWS])


def _packed(array: NDArray[Any]) -> dict[str, Any]:
    return {"shape": list(array.shape), "type": array.dtype.str, "bytes": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()}


def _unpacked(stored: Mapping[str, Any]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(stored["bytes"]), np.dtype(stored["type"])).reshape(stored["shape"])
