"""Scores of one ranked list with binary relevance; knows nothing of queries, texts or what ranked them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("map", "mrr", "recall_at_1", "recall_at_10", "ndcg_at_10")
"""Mean average precision, mean reciprocal rank, share of the relevant among the first, gain over the ideal gain."""


def ranks(relevant: NDArray[np.bool_], scores: NDArray[Any]) -> NDArray[np.int64]:
    """Places of the relevant items, from 1, ascending; equal scores count against the ranking, so a constant score earns nothing."""
    wanted = -np.sort(-scores[relevant])
    others = np.sort(scores[~relevant])
    above: NDArray[np.int64] = len(others) - np.searchsorted(others, wanted, side="left")
    return above + np.arange(1, len(wanted) + 1)


def statistics(places: NDArray[np.int64], relevant: int) -> NDArray[np.float64]:
    """One query's row of the tally: 1, then a value for each of NAMES.

    `places` are the ranks of the relevant items that were found, ascending; `relevant` (at least 1) counts all of them, and
    those that were not found add nothing. Average precision as TREC computes it, gain after Järvelin and Kekäläinen (2002).
    """
    order = np.arange(1, len(places) + 1)
    precision = float((order / places).sum()) / relevant
    reciprocal = 1 / float(places[0]) if len(places) else 0.0
    gain = float((1 / np.log2(places[places <= 10] + 1)).sum())
    ideal = float((1 / np.log2(np.arange(1, min(relevant, 10) + 1) + 1)).sum())
    return np.array([1, precision, reciprocal, (places <= 1).sum() / relevant, (places <= 10).sum() / relevant, gain / ideal])


def summarise(total: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Means over queries from summed rows of shape (..., 6); 0 where there is no query."""
    values = np.asarray(total, np.float64)
    queries = np.maximum(values[..., 0], 1)
    return {name: values[..., column] / queries for column, name in enumerate(NAMES, start=1)}
