"""Merges the outputs for the windows (overlapping pieces) into which a long text was divided; independent of tasks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vertune.core.records import Feature


def owners(features: Sequence[Feature]) -> NDArray[np.int64]:
    """Return, for each feature (model input), the index of the record that the feature was made from."""
    return np.fromiter((feature.record for feature in features), np.int64, len(features))


def stacked(outputs: Sequence[NDArray[Any]], size: int) -> NDArray[np.float64]:
    """Return the outputs for all features (model inputs) as one array of shape (features, size).

    `size` is the number of outputs per feature; it gives the array the right shape if there are no features.
    """
    return np.array(outputs, np.float64) if len(outputs) else np.empty((0, size))


def merge(count: int, features: Sequence[Feature], values: NDArray[Any]) -> NDArray[np.float64]:
    """Average the values over the windows (pieces of a long text) of each record, weighted by the windows' numbers of tokens.

    `values` has the shape (features, k), with one row per window; the result has the shape (records, k). `count` is the
    number of records.
    """
    if len(features) == count and all(feature.record == row for row, feature in enumerate(features)):
        return values.astype(np.float64, copy=False)  # one window per record: nothing to average
    tokens = np.fromiter((feature.cost for feature in features), np.float64, len(features))
    place = owners(features)
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, place, values * tokens[:, None])
    merged: NDArray[np.float64] = total / np.maximum(np.bincount(place, tokens, count), 1)[:, None]
    return merged


def truncated(count: int, features: Sequence[Feature]) -> list[bool]:
    """Return, for each of `count` records, whether its text was truncated.

    A text is truncated if some of its tokens were cut off and are in none of its model inputs.
    """
    lost = {feature.record for feature in features if feature.truncated}
    return [row in lost for row in range(count)]


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Convert logits of shape (rows, classes) to probabilities that sum to 1 per row."""
    powers = np.exp(logits - np.maximum.reduce(logits, 1, keepdims=True)) if len(logits) else logits
    result: NDArray[np.float64] = powers / np.add.reduce(powers, 1, keepdims=True)  # equal to .sum, but twice as fast on one row
    return result


def sigmoid(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Convert each logit to a probability with the logistic function, without overflow."""
    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * logits))
    return result
