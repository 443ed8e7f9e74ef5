"""Classification metrics from additive counts, for one class per row or a set of labels per row; independent of records.

Every metric is a function of sums over rows, so that resampling rows means resampling counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""True positives, false positives and false negatives, each of shape (..., classes)."""


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return the quotient part / whole, 0 where `whole` is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    result: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)
    return result


def tally(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Count true positives, false positives and false negatives per class, shape (rows, 3 * classes), from class indices (rows,)."""
    counts = np.zeros((len(truth), 3, classes))
    rows, right = np.arange(len(truth)), truth == guess
    counts[rows[right], 0, truth[right]] = 1
    counts[rows[~right], 1, guess[~right]] = 1
    counts[rows[~right], 2, truth[~right]] = 1
    return counts.reshape(len(truth), 3 * classes)


def split(total: NDArray[Any], classes: int) -> Counts:
    """Return the three counts in summed tallies of shape (..., 3 * classes or more)."""
    counts = total[..., : 3 * classes].reshape(*total.shape[:-1], 3, classes)
    return counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]


def f1(counts: Counts) -> NDArray[np.float64]:
    """Return the F1 of each class; 0 for a class that occurs neither in the truth nor in the predictions."""
    hit, wrong, missed = counts
    return ratio(2 * hit, 2 * hit + wrong + missed)


def _weighted_mean(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weighted mean over the last axis, 0 where all weights are 0."""
    return ratio((values * weights).sum(-1), weights.sum(-1))


def summarise(total: NDArray[Any], classes: int) -> dict[str, NDArray[np.float64]]:
    """Return accuracy, macro and weighted F1, balanced accuracy and Matthews correlation from summed tallies.

    Macro F1 averages over the classes that occur in truth or predictions, balanced accuracy over those in the truth; the
    correlation is the multiclass one (Gorodkin 2004), 0 where it is undefined.
    """
    counts = split(total, classes)
    hit, wrong, missed = counts
    support, answered = hit + missed, hit + wrong
    rows, right = support.sum(-1), hit.sum(-1)
    covariance = right * rows - (support * answered).sum(-1)
    spread = np.sqrt((rows**2 - (support**2).sum(-1)) * (rows**2 - (answered**2).sum(-1)))
    each = f1(counts)
    return {
        "accuracy": ratio(right, rows),
        "macro_f1": _weighted_mean(each, hit + wrong + missed > 0),
        "weighted_f1": _weighted_mean(each, support),
        "balanced_accuracy": _weighted_mean(ratio(hit, support), support > 0),
        "mcc": ratio(covariance, spread),
    }


def tally_sets(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return counts of label sets, shape (rows, 3 * labels + 3), from two arrays of shape (rows, labels).

    After the three counts per label come three columns: 1 (its sum is the number of rows), whether the two sets are equal, and the
    F1 of the two sets (1 if both are empty).
    """
    hit, wrong, missed = truth & guess, guess & ~truth, truth & ~guess
    size = truth.sum(1) + guess.sum(1)
    each = np.where(size > 0, ratio(2 * hit.sum(1), size), 1.0)
    last = [np.ones(len(truth)), (truth == guess).all(1), each]
    return np.concatenate([hit, wrong, missed, np.stack(last, axis=1)], axis=1).astype(np.float64)


def summarise_sets(total: NDArray[Any], labels: int) -> dict[str, NDArray[np.float64]]:
    """Return micro, macro, weighted and per-row F1, subset accuracy and Hamming loss from summed tallies of label sets.

    Macro F1 averages over the labels that occur in truth or predictions.
    """
    counts = split(total, labels)
    hit, wrong, missed = counts
    hits, wrongs, misses = (part.sum(-1) for part in counts)
    rows = total[..., 3 * labels]
    each = f1(counts)
    return {
        "micro_f1": ratio(2 * hits, 2 * hits + wrongs + misses),
        "macro_f1": _weighted_mean(each, hit + wrong + missed > 0),
        "weighted_f1": _weighted_mean(each, hit + missed),
        "samples_f1": ratio(total[..., 3 * labels + 2], rows),
        "micro_precision": ratio(hits, hits + wrongs),
        "micro_recall": ratio(hits, hits + misses),
        "subset_accuracy": ratio(total[..., 3 * labels + 1], rows),
        "hamming_loss": ratio(wrongs + misses, rows * labels),
    }


def per_class(total: NDArray[Any], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support per label from a tally summed over all rows."""
    hit, wrong, missed = counts = split(total, len(labels))
    columns = (ratio(hit, hit + wrong), ratio(hit, hit + missed), f1(counts))
    return [
        {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for label, p, r, f, n in zip(labels, *columns, hit + missed, strict=True)
    ]


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix: how often each true class (row) was predicted as each class (column)."""
    return np.bincount(truth * classes + guess, minlength=classes * classes).reshape(classes, classes)
