"""Decodes multi-label tasks: converts one row of logits per model input to a set of labels, with a given threshold per label."""

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
    """Return, for each record, the labels whose probability reaches the threshold of the label.

    The `at_least` most probable labels are always returned, even if they don't reach their thresholds.
    """
    probabilities = merged(len(records), features, outputs, len(labels))
    return answers(probabilities, labels, thresholds, at_least, windows.truncated(len(records), features))


def merged(count: int, features: Sequence[Feature], outputs: Sequence[NDArray[Any]], size: int) -> NDArray[np.float64]:
    """Convert logits to probabilities of shape (records, labels), one row per record even if a long text has several windows.

    If a long text was divided into windows (overlapping pieces), the probabilities of its windows are averaged; each
    window is weighted by its number of tokens. `count` is the number of records, `size` the number of labels.
    """
    return windows.merge(count, features, windows.sigmoid(windows.stacked(outputs, size)))


def answers(
    probabilities: NDArray[np.float64], labels: Sequence[str], thresholds: Sequence[float], at_least: int, truncated: Sequence[bool] = ()
) -> list[Answer]:
    """Convert probabilities of shape (records, labels) to one answer per record, with its labels sorted by falling probability.

    A label is predicted if its probability reaches its threshold, or if it is one of the `at_least` most probable
    labels of the record. `truncated` contains, for each record, whether its input was truncated; if it is empty, no
    input was.
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
