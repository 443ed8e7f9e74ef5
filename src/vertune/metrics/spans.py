"""Metrics of labelled spans, such as entities; a span is correct if its start, end and label are exactly right, as in CoNLL.

Independent of tags and tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.classification import ratio

Spans = Sequence[Mapping[str, Any]]


def tally(gold: Sequence[Spans], predicted: Sequence[Spans], labels: Sequence[str]) -> NDArray[np.float64]:
    """Count the correct, predicted and gold (true) spans of each label in each record; return shape (records, 3 * labels).

    The three counts of a label are in adjacent columns, in this order. Raises KeyError if a span has a label that is
    not in `labels`.
    """
    index = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(gold), len(labels), 3))
    for row, (expected, answered) in enumerate(zip(gold, predicted, strict=True)):
        gold_spans = {(span["start"], span["end"], span["label"]) for span in expected}
        predicted_spans = {(span["start"], span["end"], span["label"]) for span in answered}
        for column, spans in enumerate((gold_spans & predicted_spans, predicted_spans, gold_spans)):
            for _, _, label in spans:
                counts[row, index[label], column] += 1
    return counts.reshape(len(gold), -1)


def rates(right: NDArray[Any], predicted: NDArray[Any], gold: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return F1, precision and recall from the numbers of correct, predicted and gold (true) spans; 0 where a denominator is 0."""
    return {"f1": ratio(2 * right, predicted + gold), "precision": ratio(right, predicted), "recall": ratio(right, gold)}


def micro(total: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return F1, precision and recall, micro-averaged over all labels.

    `total`, of shape (..., 3 * labels), is a sum of rows of `tally`.
    """
    counts = np.asarray(total, np.float64).reshape(*np.shape(total)[:-1], -1, 3).sum(axis=-2)
    return rates(counts[..., 0], counts[..., 1], counts[..., 2])


def per_class(total: NDArray[Any], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support (number of gold spans) for each label.

    `total` is a sum of rows of `tally`.
    """
    counts = np.asarray(total, np.float64).reshape(-1, 3)
    metrics = rates(counts[:, 0], counts[:, 1], counts[:, 2])
    return [
        {"label": label, **{name: float(values[row]) for name, values in metrics.items()}, "support": int(counts[row, 2])}
        for row, label in enumerate(labels)
    ]
