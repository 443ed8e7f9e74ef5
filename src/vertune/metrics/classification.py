"""Classification metrics, for one class per row or for a set of labels per row; independent of records.

Every metric is a function of counts that are summed over rows, so a bootstrap can resample the counts instead of the rows.
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
    """Return the true positives, false positives and false negatives of each class for each row, shape (rows, 3 * classes).

    `truth` and `guess` are class indices of shape (rows,).
    """
    counts = np.zeros((len(truth), 3, classes))
    rows, right = np.arange(len(truth)), truth == guess
    counts[rows[right], 0, truth[right]] = 1
    counts[rows[~right], 1, guess[~right]] = 1
    counts[rows[~right], 2, truth[~right]] = 1
    return counts.reshape(len(truth), 3 * classes)


def split(total: NDArray[Any], classes: int) -> Counts:
    """Split a sum of rows that `tally` returns into true positives, false positives and false negatives.

    Columns of `total` after the first 3 * classes are ignored.
    """
    counts = total[..., : 3 * classes].reshape(*total.shape[:-1], 3, classes)
    return counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]


def f1(counts: Counts) -> NDArray[np.float64]:
    """Return the F1 of each class; 0 for a class that occurs neither among the true labels nor among the predictions."""
    hit, wrong, missed = counts
    return ratio(2 * hit, 2 * hit + wrong + missed)


def _weighted_mean(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weighted mean over the last axis, 0 where all weights are 0."""
    return ratio((values * weights).sum(-1), weights.sum(-1))


def summarise(total: NDArray[Any], classes: int) -> dict[str, NDArray[np.float64]]:
    """Return accuracy, macro and weighted F1, balanced accuracy and Matthews correlation.

    `total` is the sum of rows that `tally` returns. Macro F1 is the mean over the classes that occur among the true labels or the
    predictions; balanced accuracy is the mean over the classes among the true labels. The Matthews correlation is the multiclass one
    (Gorodkin 2004), or 0 where it is undefined.
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
    """Return the counts of each row that `summarise_sets` needs, shape (rows, 3 * labels + 3).

    `truth` and `guess`, of shape (rows, labels), mark the true and the predicted labels. The first columns are the true positives,
    false positives and false negatives of each label. The last three are: 1 (so that the sum is the number of rows), 1 if the true
    and the predicted set are equal, else 0, and the F1 of the two sets (1 if both are empty).
    """
    hit, wrong, missed = truth & guess, guess & ~truth, truth & ~guess
    size = truth.sum(1) + guess.sum(1)
    each = np.where(size > 0, ratio(2 * hit.sum(1), size), 1.0)
    last = [np.ones(len(truth)), (truth == guess).all(1), each]
    return np.concatenate([hit, wrong, missed, np.stack(last, axis=1)], axis=1).astype(np.float64)


def summarise_sets(total: NDArray[Any], labels: int) -> dict[str, NDArray[np.float64]]:
    """Return F1 (micro, macro, weighted, per row), micro precision and recall, subset accuracy and Hamming loss.

    `total` is the sum of rows of `tally_sets`. Macro F1 is the mean over the labels that occur in the true or the predicted sets.
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
    """Return precision, recall, F1 and support (number of rows with the label) per label.

    `total` is the sum of rows that `tally` or `tally_sets` returns.
    """
    hit, wrong, missed = counts = split(total, len(labels))
    columns = (ratio(hit, hit + wrong), ratio(hit, hit + missed), f1(counts))
    return [
        {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for label, p, r, f, n in zip(labels, *columns, hit + missed, strict=True)
    ]


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix: how often each true class (row) was predicted as each class (column)."""
    return np.bincount(truth * classes + guess, minlength=classes * classes).reshape(classes, classes)
