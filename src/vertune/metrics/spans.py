"""Scores of labelled spans that must match exactly, as CoNLL counts entities; knows nothing of tags or tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.classification import ratio

Spans = Sequence[Mapping[str, Any]]


def tally(gold: Sequence[Spans], predicted: Sequence[Spans], labels: Sequence[str]) -> NDArray[np.float64]:
    """Right, predicted and gold spans of each label in each record, shape (records, 3 x labels); a KeyError names an unknown label."""
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(gold), len(labels), 3))
    for row, (expected, answered) in enumerate(zip(gold, predicted, strict=True)):
        wanted = {(span["start"], span["end"], span["label"]) for span in expected}
        given = {(span["start"], span["end"], span["label"]) for span in answered}
        for column, spans in enumerate((wanted & given, given, wanted)):
            for _, _, label in spans:
                counts[row, place[label], column] += 1
    return counts.reshape(len(gold), -1)


def rates(right: NDArray[Any], predicted: NDArray[Any], gold: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """F1, precision and recall from counts of any shape; 0 where nothing was predicted or there."""
    return {"f1": ratio(2 * right, predicted + gold), "precision": ratio(right, predicted), "recall": ratio(right, gold)}


def micro(total: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """F1, precision and recall over all labels from summed tallies of shape (..., 3 x labels)."""
    counts = np.asarray(total, np.float64).reshape(*np.shape(total)[:-1], -1, 3).sum(axis=-2)
    return rates(counts[..., 0], counts[..., 1], counts[..., 2])


def per_class(total: NDArray[Any], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support (gold spans) of each label from one summed tally."""
    counts = np.asarray(total, np.float64).reshape(-1, 3)
    found = rates(counts[:, 0], counts[:, 1], counts[:, 2])
    return [
        {"label": label, **{name: float(values[row]) for name, values in found.items()}, "support": int(counts[row, 2])}
        for row, label in enumerate(labels)
    ]
