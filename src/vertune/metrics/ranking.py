"""Metrics of rankings, such as mean average precision, if each item is either relevant or not; independent of texts and rankers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("map", "mrr", "recall_at_1", "recall_at_10", "ndcg_at_10")
"""Mean average precision, mean reciprocal rank, recall among the first 1 and 10, normalised discounted cumulative gain of
the first 10."""


def ranks(relevant: NDArray[np.bool_], scores: NDArray[Any]) -> NDArray[np.int64]:
    """Rank items by descending score; return the ranks of the relevant items, counted from 1, in ascending order.

    `relevant` marks the relevant items. Among items with equal scores, the irrelevant ones are ranked first, so that a
    tie never improves a metric.
    """
    relevant_scores = -np.sort(-scores[relevant])
    others = np.sort(scores[~relevant])
    above: NDArray[np.int64] = len(others) - np.searchsorted(others, relevant_scores, side="left")
    return above + np.arange(1, len(relevant_scores) + 1)


def statistics(ranks: NDArray[np.int64], relevant: int) -> NDArray[np.float64]:
    """Compute the metrics of one query; return the number 1, then the value of each metric in NAMES.

    Rows of several queries can be summed: the sum of the first column is the number of queries. `ranks` contains the
    ranks of the relevant items that were retrieved, in ascending order; `relevant` is the number of all relevant items,
    at least 1. Relevant items that were not retrieved add nothing to the metrics. Average precision is computed as in
    TREC, discounted cumulative gain as in Järvelin and Kekäläinen (2002).
    """
    order = np.arange(1, len(ranks) + 1)
    precision = float((order / ranks).sum()) / relevant
    reciprocal = 1 / float(ranks[0]) if len(ranks) else 0.0
    gain = float((1 / np.log2(ranks[ranks <= 10] + 1)).sum())
    ideal = float((1 / np.log2(np.arange(1, min(relevant, 10) + 1) + 1)).sum())
    return np.array([1, precision, reciprocal, (ranks <= 1).sum() / relevant, (ranks <= 10).sum() / relevant, gain / ideal])


def summarise(total: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the mean of each metric over the queries; 0 if there is no query.

    `total`, of shape (..., 6), is a sum of rows that `statistics` returns.
    """
    values = np.asarray(total, np.float64)
    queries = np.maximum(values[..., 0], 1)
    return {name: values[..., column] / queries for column, name in enumerate(NAMES, start=1)}
