"""Batches by length and by tokens, and a forward pass over them; knows nothing of models or records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Encoder
from vertune.core.records import Feature

Forward = Callable[[Sequence[int], "dict[str, NDArray[Any]]"], "NDArray[Any]"]
"""Outputs of a batch from the indices of its features and their collated arrays."""


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


def collated(encoder: Encoder, features: Sequence[Feature], tokens: int) -> Iterator[tuple[list[int], dict[str, NDArray[Any]]]]:
    """Indices and collated arrays of each batch, longest first, so that the peak of memory comes at once."""
    costs = np.array([feature.cost for feature in features], dtype=np.int64)
    for rows in by_tokens(np.argsort(-costs, kind="stable"), costs, tokens):
        yield rows, encoder.collate([features[row] for row in rows])


def outputs(encoder: Encoder, features: Sequence[Feature], tokens: int, forward: Forward) -> list[NDArray[Any]]:
    """The outputs of each feature, in order; those of one row a position are cut to the positions of their feature."""
    result: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(features)
    for rows, arrays in collated(encoder, features, tokens):
        out = forward(rows, arrays)
        per_token = out.ndim > 2
        for place, row in enumerate(rows):
            result[row] = out[place, : features[row].positions].copy() if per_token else out[place]
    return result
