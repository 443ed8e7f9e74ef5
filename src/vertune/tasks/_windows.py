"""How the features of a record are put together again: windows merge answers, never states; knows nothing of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.records import Feature


def owners(features: Sequence[Feature]) -> NDArray[np.int64]:
    """The record of each feature."""
    return np.fromiter((feature.record for feature in features), np.int64, len(features))


def merge(count: int, features: Sequence[Feature], values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the windows of each record, weighted by their tokens: (features, k) to (records, k)."""
    tokens = np.fromiter((len(feature) for feature in features), np.float64, len(features))
    place = owners(features)
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, place, values * tokens[:, None])
    merged: NDArray[np.float64] = total / np.maximum(np.bincount(place, tokens, count), 1)[:, None]
    return merged


def truncated(count: int, features: Sequence[Feature]) -> list[bool]:
    """Whether tokens of each record are in none of its features."""
    lost = np.zeros(count, bool)
    lost[[feature.record for feature in features if feature.truncated]] = True
    return [bool(value) for value in lost]


def shares(features: Sequence[Feature], weights: NDArray[Any] | None = None) -> NDArray[np.float32] | None:
    """What each feature weighs in the loss, so that a record of many windows counts once; None where all weigh 1.

    `weights`, shape (records,), are the weights of the records themselves.
    """
    place = owners(features)
    windows = np.bincount(place)[place] if len(place) else place
    if weights is None and (windows == 1).all():
        return None
    return ((1.0 if weights is None else weights[place]) / windows).astype(np.float32)
