"""Groups model inputs (features) of similar length into batches and runs a function on each batch; independent of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Encoder
from vertune.core.records import Feature

Forward = Callable[[Sequence[int], "dict[str, NDArray[Any]]"], "NDArray[Any]"]
"""A function that runs the model on a batch: given feature indices and collated arrays, it returns one output row per feature."""


def by_tokens(order: Iterable[int], costs: NDArray[np.int64], tokens: int, rows: int | Callable[[int], int] = 256) -> list[list[int]]:
    """Divide rows into batches of at most `rows` rows and at most `tokens` tokens, padding included.

    `order` contains the row indices in the order in which they are put into batches; `costs[i]` is the number of tokens of row i. A row
    with more than `tokens` tokens gets a batch of its own. `rows` may be a function that returns the largest number of rows in a batch
    whose longest row has a given number of tokens. Returns the row indices of each batch.
    """
    batches: list[list[int]] = []
    current: list[int] = []
    longest = 0
    for row in order:
        longest = max(longest, int(costs[row]))
        most = rows(longest) if callable(rows) else rows
        if current and (longest * (len(current) + 1) > tokens or len(current) >= most):
            batches.append(current)
            current, longest = [], int(costs[row])
        current.append(int(row))
    return [*batches, current] if current else batches


def epoch(costs: NDArray[np.int64], batch: int, window: int, seed: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Divide all rows into the batches of one epoch: in random order, but with rows of similar length in the same batch.

    `costs[i]` is the number of tokens of row i. The rows are shuffled and divided into groups of `batch * window` rows. Each group is
    sorted by length, which reduces padding, and cut into batches of `batch` rows. Then the batches are shuffled. Every row occurs once;
    one batch is smaller if the rows can't be divided evenly. Returns the row indices of each batch; `seed` makes them repeatable.
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
    """Divide features (model inputs) into batches; yield, for each batch, the indices of its features and its padded input arrays.

    A batch has at most `tokens` tokens, padding included; a feature with more tokens gets a batch of its own. The longest features
    come first, so that memory use is highest at the start.
    """
    costs = np.array([feature.cost for feature in features], dtype=np.int64)
    for rows in by_tokens(np.argsort(-costs, kind="stable"), costs, tokens):
        yield rows, encoder.collate([features[row] for row in rows])


def outputs(encoder: Encoder, features: Sequence[Feature], tokens: int, forward: Forward) -> list[NDArray[Any]]:
    """Run a model on features (model inputs) in batches and return its output for each feature, in the order of `features`.

    `forward` runs the model on one batch. A batch has at most `tokens` tokens, padding included; a feature with more tokens gets a
    batch of its own. If the model returns one vector per token, the vectors of padding are removed.
    """
    result: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(features)
    for rows, arrays in collated(encoder, features, tokens):
        out = forward(rows, arrays)
        per_token = out.ndim > 2
        for index, row in enumerate(rows):
            result[row] = out[index, : features[row].positions].copy() if per_token else out[index]
    return result
