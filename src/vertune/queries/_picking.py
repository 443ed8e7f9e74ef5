"""What queries share: the choice of the best records without near-duplicates and with every label, and distances in large pools."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vertune.core.query import Pool

NEARLY_EQUAL = 0.97
"""Cosine similarity of states above which two records count as near-duplicates."""
_CHUNK = 8192
"""Number of records whose similarities are computed at once, which limits the memory."""
_LARGEST = 20_000
"""Largest number of records that are clustered or compared with each other; of a larger pool, a random sample of this size."""


def take(order: NDArray[np.int64], pool: Pool, number: int) -> NDArray[np.int64]:
    """Return the first `number` records of an order, without near-duplicates and with each label that the model gives to a record of it.

    Near-duplicates fill the rest, in their order, if there are too few other records.
    """
    first = _one_of_each_label(order, pool, number)
    rest = order[~np.isin(order, first)]
    chosen: list[int] = []
    left: list[int] = []
    vectors = np.empty((min(number, len(order)), pool.states.shape[1]), np.float32)
    for row in (*first.tolist(), *rest.tolist()):
        if len(chosen) == len(vectors):
            break
        if chosen and float((vectors[: len(chosen)] @ pool.states[row]).max()) > NEARLY_EQUAL:
            left.append(row)
            continue
        vectors[len(chosen)] = pool.states[row]
        chosen.append(row)
    missing = len(vectors) - len(chosen)
    place = {row: number for number, row in enumerate(order.tolist())}
    return np.array(sorted([*chosen, *left[:missing]], key=place.__getitem__), np.int64)


def filled(picked: NDArray[np.int64], pool: Pool, number: int) -> NDArray[np.int64]:
    """Return the picked records, followed by other open ones if a sample of a large pool had fewer than `number`."""
    rows = pool.open()
    return np.concatenate([picked, rows[~np.isin(rows, picked)][: number - len(picked)]])


def _one_of_each_label(order: NDArray[np.int64], pool: Pool, number: int) -> NDArray[np.int64]:
    """Return the first record of the order for each label that the model gives, if that leaves room for others."""
    if pool.beliefs is None or pool.beliefs.probabilities.shape[1] > number // 2:
        return np.empty(0, np.int64)
    labels = pool.beliefs.probabilities[order].argmax(1)
    return order[np.sort(np.unique(labels, return_index=True)[1])]


def generator(pool: Pool) -> np.random.Generator:
    """Return the random numbers of a query: they depend on the seed of the pool and on how many labels there are."""
    return np.random.default_rng([pool.seed, int(pool.labelled.sum())])


def sample(rows: NDArray[np.int64], pool: Pool, most: int = _LARGEST) -> NDArray[np.int64]:
    """Return these records, or `most` of them at random if there are more, in order."""
    return rows if len(rows) <= most else np.sort(generator(pool).choice(rows, most, replace=False))


def chunks(rows: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield the records in pieces, each with its place in `rows`."""
    for start in range(0, len(rows), _CHUNK):
        yield slice(start, start + _CHUNK), rows[start : start + _CHUNK]


def clusters(states: NDArray[np.float32], number: int, seed: int, weights: NDArray[np.float32] | None = None) -> NDArray[np.int64]:
    """Return the cluster of each record, from 0 to `number` - 1, by k-means; `weights` say how much a record counts."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    number = min(number, len(np.unique(states, axis=0)))
    kind = KMeans if len(states) * number <= 2_000_000 else MiniBatchKMeans
    found: NDArray[np.int64] = kind(number, n_init=1, random_state=seed).fit(states, sample_weight=weights).labels_.astype(np.int64)
    return found


def farthest_first(states: NDArray[np.float32], nearest: NDArray[np.float32], number: int) -> list[int]:
    """Return `number` rows, each the farthest from all that are chosen before it; `nearest` is the highest similarity to known ones."""
    nearest, chosen = nearest.copy(), []
    for _ in range(min(number, len(states))):
        row = int(nearest.argmin())
        chosen.append(row)
        nearest = np.maximum(nearest, states @ states[row])
        nearest[row] = np.inf
    return chosen
