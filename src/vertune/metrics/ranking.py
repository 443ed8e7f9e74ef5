"""Metrics of one ranked list with binary relevance; knows nothing of queries, texts or rankers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("map", "mrr", "recall_at_1", "recall_at_10", "ndcg_at_10")
"""Mean average precision, mean reciprocal rank, recall among the first 1 and 10, normalised discounted cumulative gain."""


def ranks(relevant: NDArray[np.bool_], scores: NDArray[Any]) -> NDArray[np.int64]:
    """Ranks of the relevant items, from 1, ascending; a tie ranks the irrelevant item first, so a constant score earns nothing."""
    relevant_scores = -np.sort(-scores[relevant])
    others = np.sort(scores[~relevant])
    above: NDArray[np.int64] = len(others) - np.searchsorted(others, relevant_scores, side="left")
    return above + np.arange(1, len(relevant_scores) + 1)


def statistics(ranks: NDArray[np.int64], relevant: int) -> NDArray[np.float64]:
    """One query's row of the tally: 1, then a value for each of NAMES.

    `ranks` are those of the retrieved relevant items, ascending; `relevant` (at least 1) counts all relevant items, and those
    not retrieved add nothing. Average precision as TREC computes it, gain after Järvelin and Kekäläinen (2002).
    """
    order = np.arange(1, len(ranks) + 1)
    precision = float((order / ranks).sum()) / relevant
    reciprocal = 1 / float(ranks[0]) if len(ranks) else 0.0
    gain = float((1 / np.log2(ranks[ranks <= 10] + 1)).sum())
    ideal = float((1 / np.log2(np.arange(1, min(relevant, 10) + 1) + 1)).sum())
    return np.array([1, precision, reciprocal, (ranks <= 1).sum() / relevant, (ranks <= 10).sum() / relevant, gain / ideal])


def summarise(total: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Means over queries from summed rows of shape (..., 6); 0 if there is no query."""
    values = np.asarray(total, np.float64)
    queries = np.maximum(values[..., 0], 1)
    return {name: values[..., column] / queries for column, name in enumerate(NAMES, start=1)}
