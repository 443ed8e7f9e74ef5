"""Metrics for classification, with either one class or a set of labels per row; independent of records.

Every metric is computed from sums of counts over the rows. A bootstrap can therefore resample the rows of counts,
without the predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Arrays of true positives, false positives and false negatives, each of shape (..., classes)."""


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return `part` / `whole` for each element, and 0 where `whole` is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    result: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)
    return result


def tally(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Count the true positives, false positives and false negatives in each row; return an array of shape (rows, 3 * classes).

    `truth` and `guess` are the true and the predicted class index of each row, shape (rows,). The columns are the true
    positives of each class, then the false positives of each class, then the false negatives of each class.
    """
    counts = np.zeros((len(truth), 3, classes))
    rows, right = np.arange(len(truth)), truth == guess
    counts[rows[right], 0, truth[right]] = 1
    counts[rows[~right], 1, guess[~right]] = 1
    counts[rows[~right], 2, truth[~right]] = 1
    return counts.reshape(len(truth), 3 * classes)


def split(total: NDArray[Any], classes: int) -> Counts:
    """Split a sum of rows of `tally` into true positives, false positives and false negatives, each of shape (..., classes).

    `total` may have more than 3 * classes columns; the further columns are ignored.
    """
    counts = total[..., : 3 * classes].reshape(*total.shape[:-1], 3, classes)
    return counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]


def f1(counts: Counts) -> NDArray[np.float64]:
    """Return the F1 of each class; it is 0 for a class that occurs neither in the true labels nor in the predictions."""
    hit, wrong, missed = counts
    return ratio(2 * hit, 2 * hit + wrong + missed)


def _weighted_mean(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weighted mean over the last axis, 0 where all weights are 0."""
    return ratio((values * weights).sum(-1), weights.sum(-1))


def summarise(total: NDArray[Any], classes: int) -> dict[str, NDArray[np.float64]]:
    """Return accuracy, macro and weighted F1, balanced accuracy and Matthews correlation.

    `total` is a sum of rows of `tally`. Macro F1 is the mean over the classes that occur in the true labels or in the
    predictions. Balanced accuracy is the mean recall over the classes that occur in the true labels. The Matthews
    correlation is that for several classes (Gorodkin 2004); it is 0 where it is undefined.
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
    """Return the numbers of each row from whose sums `summarise_sets` computes metrics, shape (rows, 3 * labels + 3).

    `truth` and `guess`, of shape (rows, labels), mark the true and the predicted labels. The first columns are the true
    positives of each label, then the false positives, then the false negatives. Three more columns follow: the constant
    1, whose sum is the number of rows; 1 if the true and the predicted set are equal, else 0; the F1 of the two sets (1
    if both are empty).
    """
    hit, wrong, missed = truth & guess, guess & ~truth, truth & ~guess
    size = truth.sum(1) + guess.sum(1)
    each = np.where(size > 0, ratio(2 * hit.sum(1), size), 1.0)
    last = [np.ones(len(truth)), (truth == guess).all(1), each]
    return np.concatenate([hit, wrong, missed, np.stack(last, axis=1)], axis=1).astype(np.float64)


def summarise_sets(total: NDArray[Any], labels: int) -> dict[str, NDArray[np.float64]]:
    """Return F1 (micro, macro, weighted, mean over rows), micro precision and recall, subset accuracy and Hamming loss.

    `total` is a sum of rows of `tally_sets`. Macro F1 is the mean over the labels that occur in the true or in the
    predicted sets.
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
    """Return precision, recall, F1 and support (number of rows with the label) for each label.

    `total` is a sum of rows of `tally` or `tally_sets`.
    """
    hit, wrong, missed = counts = split(total, len(labels))
    columns = (ratio(hit, hit + wrong), ratio(hit, hit + missed), f1(counts))
    return [
        {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for label, p, r, f, n in zip(labels, *columns, hit + missed, strict=True)
    ]


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> list[list[int]]:
    """Return the cells of the confusion matrix that are not 0, as [true class, predicted class, count], the largest counts first.

    There are at most as many cells as rows; the complete matrix would grow with the square of the number of classes.
    """
    pairs, counts = np.unique(truth * classes + guess, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [[int(pair) // classes, int(pair) % classes, int(count)] for pair, count in zip(pairs[order], counts[order], strict=True)]
