"""Batches by length and by tokens; knows nothing of models or records."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def by_tokens(order: Iterable[int], costs: NDArray[np.int64], tokens: int, rows: int = 256) -> list[list[int]]:
    """Cut an order of rows into batches of at most `tokens` padded tokens and `rows` rows; a longer row stands alone."""
    batches: list[list[int]] = []
    current: list[int] = []
    longest = 0
    for row in order:
        longest = max(longest, int(costs[row]))
        if current and (longest * (len(current) + 1) > tokens or len(current) == rows):
            batches.append(current)
            current, longest = [], int(costs[row])
        current.append(int(row))
    return [*batches, current] if current else batches


def epoch(costs: NDArray[np.int64], batch: int, window: int, seed: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """One epoch's batches: rows are shuffled, each window of `window` batches is sorted by cost, batches are shuffled.

    Every row comes once; every batch has `batch` rows but one, which has what is left over.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(costs))
    size = batch * window
    batches = []
    for start in range(0, len(order), size):
        part = order[start : start + size]
        part = part[np.argsort(costs[part], kind="stable")]
        batches += [part[place : place + batch] for place in range(0, len(part), batch)]
    return [batches[place] for place in random.permutation(len(batches))]
