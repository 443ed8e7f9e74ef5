"""Decodes multi-label tasks: converts one row of logits per model input to a set of labels, with given thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.decoders import windows

if TYPE_CHECKING:
    from vertune.core.records import Answer, Feature, Record


def decode(
    records: Sequence[Record],
    features: Sequence[Feature],
    outputs: Sequence[NDArray[Any]],
    labels: Sequence[str],
    thresholds: Sequence[float],
    at_least: int,
) -> list[Answer]:
    """Return, for each record, the labels whose probability reaches their threshold, and always the `at_least` most probable labels."""
    probabilities = merged(len(records), features, outputs, len(labels))
    return answers(probabilities, labels, thresholds, at_least, windows.truncated(len(records), features))


def merged(count: int, features: Sequence[Feature], outputs: Sequence[NDArray[Any]], size: int) -> NDArray[np.float64]:
    """Convert logits to probabilities of shape (records, labels); `count` is the number of records, `size` the number of labels.

    If a long text was divided into windows (overlapping pieces), the probabilities of its windows are averaged; each window is
    weighted by its number of tokens.
    """
    return windows.merge(count, features, windows.sigmoid(windows.stacked(outputs, size)))


def answers(
    probabilities: NDArray[np.float64], labels: Sequence[str], thresholds: Sequence[float], at_least: int, truncated: Sequence[bool] = ()
) -> list[Answer]:
    """Convert probabilities of shape (records, labels) to one answer per record; its labels are sorted by falling probability.

    `at_least` is the least number of labels per answer. `truncated` says for each record whether its input was truncated; if it is
    empty, no input was.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    named = probabilities >= np.asarray(thresholds, np.float64)
    np.put_along_axis(named, order[:, :at_least], True, axis=1)
    flags = truncated or [False] * len(probabilities)
    return [
        {
            "labels": [labels[index] for index in indices if has[index]],
            "probabilities": dict(zip(labels, row, strict=True)),
            "truncated": flag,
        }
        for indices, has, row, flag in zip(order.tolist(), named.tolist(), probabilities.tolist(), flags, strict=True)
    ]
