"""Learns from which probability on each label is given; knows nothing of models or records."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.classification import ratio

ENOUGH = 5
"""Positive rows from which a label gets a threshold of its own; below, it shares one with all, since it would learn noise."""


def learn(
    truth: NDArray[np.bool_], probability: NDArray[np.floating[Any]], average: Literal["micro", "macro"] = "micro"
) -> NDArray[np.float64]:
    """Threshold of each label, shape (labels,), that maximises F1 on these rows; both arrays are (rows, labels).

    Micro: for the best F1 = f, each label on its own maximises 2 * TP - f * (TP + FP) (Dinkelbach 1967; Lipton et al. 2014
    show that f / 2 is the threshold of calibrated probabilities). Macro: each label maximises its own F1. Labels with fewer
    than ENOUGH positive rows take the one threshold that is best for all.
    """
    common = _common(truth, probability)
    thresholds = np.full(truth.shape[1], common)
    often = np.flatnonzero(truth.sum(0) >= ENOUGH)
    if average == "macro":
        for label in often:
            thresholds[label] = _best(truth[:, label], probability[:, label], None)
        return thresholds
    for _ in range(20):
        goal = _micro(truth, probability >= thresholds)
        before = thresholds.copy()
        for label in often:
            thresholds[label] = _best(truth[:, label], probability[:, label], goal)
        if np.array_equal(before, thresholds):
            break
    return thresholds


def _micro(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> float:
    return float(ratio(2 * (truth & guess).sum(), truth.sum() + guess.sum()))


def _common(truth: NDArray[np.bool_], probability: NDArray[Any]) -> float:
    """The one threshold for all labels with the best micro F1."""
    return _best(truth.ravel(), probability.ravel(), None) if truth.any() else 0.5


def _best(truth: NDArray[np.bool_], probability: NDArray[Any], goal: float | None) -> float:
    """Cut of one list of rows with the best F1, or, given a goal, the most 2 * TP - goal * (TP + FP)."""
    order = np.argsort(-probability, kind="stable")
    scores, hits = probability[order], np.cumsum(truth[order])
    given = np.arange(1, len(order) + 1)
    gain = 2 * hits / (given + hits[-1]) if goal is None else 2 * hits - goal * given
    last = np.flatnonzero(np.append(scores[:-1] > scores[1:], True))  # a cut can't part equal scores
    place = int(last[np.argmax(gain[last])])
    below = float(scores[place + 1]) if place + 1 < len(scores) else 0.0
    return (float(scores[place]) + below) / 2
