"""Fits a decision threshold for each label of a multi-label task; independent of models and records."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.classification import ratio

ENOUGH = 5
"""Least number of positive rows from which a label gets its own threshold; with fewer, it gets the one common to all labels."""
PRIOR = 10
"""Number of positive rows at which `learn` gives the label's own threshold and the common one the same weight."""

Average = Literal["micro", "macro"]


def learn(truth: NDArray[np.bool_], probability: NDArray[np.floating[Any]], average: Average = "micro") -> NDArray[np.float64]:
    """Fit the decision threshold of each label on held-out rows; return thresholds of shape (labels,).

    `truth` and `probability` have the shape (rows, labels). Each threshold is a weighted mean of two: the best
    threshold for this label alone, and the best threshold that is used for all labels together. The more positive rows
    the label has, the more weight its own threshold gets, because a threshold that is fitted on few rows is mostly
    noise. `average` is explained at `best`.
    """
    common = _common(truth, probability)
    positives = truth.sum(0)
    trust = np.where(positives >= ENOUGH, positives / (positives + PRIOR), 0.0)
    result: NDArray[np.float64] = trust * best(truth, probability, average) + (1 - trust) * common
    return result


def best(truth: NDArray[np.bool_], probability: NDArray[np.floating[Any]], average: Average) -> NDArray[np.float64]:
    """Return the threshold of each label that maximises F1 on these rows.

    A label with fewer than 5 positive rows gets the threshold that is best for all labels together. With `macro`, the
    threshold of each label maximises the F1 of that label. With `micro`, the thresholds together maximise the micro F1
    over all labels, by repeating two steps until nothing changes (Dinkelbach 1967): compute the micro F1, f; then
    choose for each label the threshold that maximises 2 * TP - f * (TP + FP), from its numbers of true and false
    positives.
    """
    thresholds = np.full(truth.shape[1], _common(truth, probability))
    frequent = np.flatnonzero(truth.sum(0) >= ENOUGH)
    if average == "macro":
        for label in frequent:
            thresholds[label] = _best_threshold(truth[:, label], probability[:, label], None)
        return thresholds
    for _ in range(20):
        goal = _micro(truth, probability >= thresholds)
        before = thresholds.copy()
        for label in frequent:
            thresholds[label] = _best_threshold(truth[:, label], probability[:, label], goal)
        if np.array_equal(before, thresholds):
            break
    return thresholds


def _micro(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> float:
    """Return the micro F1 over all labels, from bool arrays of shape (rows, labels)."""
    return float(ratio(2 * (truth & guess).sum(), truth.sum() + guess.sum()))


def _common(truth: NDArray[np.bool_], probability: NDArray[Any]) -> float:
    """Return the threshold with the best micro F1 if it is used for all labels; 0.5 if no row has a label."""
    return _best_threshold(truth.ravel(), probability.ravel(), None) if truth.any() else 0.5


def _best_threshold(truth: NDArray[np.bool_], probability: NDArray[Any], goal: float | None) -> float:
    """Return the threshold that maximises F1 or, if `goal` is given, 2 * TP - goal * (TP + FP).

    TP and FP are the numbers of true and false positives. `best` needs the second formula to maximise the micro F1 of
    several labels.
    """
    order = np.argsort(-probability, kind="stable")
    scores, true_positives = probability[order], np.cumsum(truth[order])
    predicted = np.arange(1, len(order) + 1)
    gain = 2 * true_positives / (predicted + true_positives[-1]) if goal is None else 2 * true_positives - goal * predicted
    last = np.flatnonzero(np.append(scores[:-1] > scores[1:], True))  # a threshold can't separate equal scores
    position = int(last[np.argmax(gain[last])])
    below = float(scores[position + 1]) if position + 1 < len(scores) else 0.0
    return (float(scores[position]) + below) / 2
