"""Learns from which probability on each label is given; knows nothing of models or records."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.classification import ratio

ENOUGH = 5
"""Positive rows from which a label has a say in its own threshold."""
PRIOR = 10
"""Positive rows at which a label's own threshold and the common one count the same."""

Average = Literal["micro", "macro"]


def learn(truth: NDArray[np.bool_], probability: NDArray[np.floating[Any]], average: Average = "micro") -> NDArray[np.float64]:
    """Threshold of each label, shape (labels,), from rows that were not learnt from; both arrays are (rows, labels).

    It lies between the one threshold that is best for all labels and the label's own best one, the nearer to its own the
    more positive rows there are: what few rows say is mostly noise.
    """
    common = _common(truth, probability)
    positives = truth.sum(0)
    trust = np.where(positives >= ENOUGH, positives / (positives + PRIOR), 0.0)
    result: NDArray[np.float64] = trust * best(truth, probability, average) + (1 - trust) * common
    return result


def best(truth: NDArray[np.bool_], probability: NDArray[np.floating[Any]], average: Average) -> NDArray[np.float64]:
    """Threshold of each label that maximises F1 on these very rows; labels with few positive rows take the common one.

    Micro: for the best F1 = f, each label on its own maximises 2 * TP - f * (TP + FP) (Dinkelbach 1967; Lipton et al. 2014
    show that f / 2 is the threshold of calibrated probabilities). Macro: each label maximises its own F1.
    """
    thresholds = np.full(truth.shape[1], _common(truth, probability))
    often = np.flatnonzero(truth.sum(0) >= ENOUGH)
    if average == "macro":
        for label in often:
            thresholds[label] = _cut(truth[:, label], probability[:, label], None)
        return thresholds
    for _ in range(20):
        goal = _micro(truth, probability >= thresholds)
        before = thresholds.copy()
        for label in often:
            thresholds[label] = _cut(truth[:, label], probability[:, label], goal)
        if np.array_equal(before, thresholds):
            break
    return thresholds


def _micro(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> float:
    return float(ratio(2 * (truth & guess).sum(), truth.sum() + guess.sum()))


def _common(truth: NDArray[np.bool_], probability: NDArray[Any]) -> float:
    """The one threshold for all labels with the best micro F1."""
    return _cut(truth.ravel(), probability.ravel(), None) if truth.any() else 0.5


def _cut(truth: NDArray[np.bool_], probability: NDArray[Any], goal: float | None) -> float:
    """Cut of one list of rows with the best F1, or, given a goal, the most 2 * TP - goal * (TP + FP)."""
    order = np.argsort(-probability, kind="stable")
    scores, hits = probability[order], np.cumsum(truth[order])
    given = np.arange(1, len(order) + 1)
    gain = 2 * hits / (given + hits[-1]) if goal is None else 2 * hits - goal * given
    last = np.flatnonzero(np.append(scores[:-1] > scores[1:], True))  # a cut can't part equal scores
    place = int(last[np.argmax(gain[last])])
    below = float(scores[place + 1]) if place + 1 < len(scores) else 0.0
    return (float(scores[place]) + below) / 2
