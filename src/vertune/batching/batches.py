"""Groups features (model inputs) of similar length into batches and calls a function for each batch; independent of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Encoder
from vertune.core.records import Feature

Forward = Callable[[Sequence[int], "dict[str, NDArray[Any]]"], "NDArray[Any]"]
"""A function that runs the model on a batch: given feature indices and collated arrays, it returns one output row per feature."""


def by_tokens(order: Iterable[int], costs: NDArray[np.int64], tokens: int, rows: int = 256) -> list[list[int]]:
    """Divide row indices, in the given order, into batches of at most `rows` rows and `tokens` tokens (padding included).

    `costs` contains the number of tokens of each row. A row with more than `tokens` tokens is put into a batch alone.
    """
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
    """Return the row indices of each batch of one epoch, in random order but with rows of similar cost in the same batch.

    `costs` contains the number of tokens of each row. The rows are shuffled and divided into groups of `window` batches; the rows
    of each group are sorted by cost, to reduce padding, and divided into batches; then all batches are shuffled. Every row occurs
    once. Every batch has `batch` rows, except one with the remaining rows.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(costs))
    size = batch * window
    batches = []
    for start in range(0, len(order), size):
        part = order[start : start + size]
        part = part[np.argsort(costs[part], kind="stable")]
        batches += [part[first : first + batch] for first in range(0, len(part), batch)]
    return [batches[index] for index in random.permutation(len(batches))]


def collated(encoder: Encoder, features: Sequence[Feature], tokens: int) -> Iterator[tuple[list[int], dict[str, NDArray[Any]]]]:
    """Divide features into batches of at most `tokens` tokens; yield the feature indices and the collated arrays of each batch.

    Longer features come first, so that memory use is highest at the start. A feature with more than `tokens` tokens is a batch
    alone.
    """
    costs = np.array([feature.cost for feature in features], dtype=np.int64)
    for rows in by_tokens(np.argsort(-costs, kind="stable"), costs, tokens):
        yield rows, encoder.collate([features[row] for row in rows])


def outputs(encoder: Encoder, features: Sequence[Feature], tokens: int, forward: Forward) -> list[NDArray[Any]]:
    """Return the model output of each feature, in the order of `features`.

    If the model returns one vector per token, the vectors of padding tokens are removed. A batch has at most `tokens` tokens.
    """
    result: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(features)
    for rows, arrays in collated(encoder, features, tokens):
        out = forward(rows, arrays)
        per_token = out.ndim > 2
        for index, row in enumerate(rows):
            result[row] = out[index, : features[row].positions].copy() if per_token else out[index]
    return result
