"""How far a metric could lie from what was measured, by resampling units; knows nothing of tasks or of what a metric means.

Statistics are additive: a sample's metric is a function of the sum of its units' tallies. So a round of the bootstrap is one
row of weights (how often each unit was drawn) and all rounds are one matrix product, never a loop over records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Summarise = Callable[[NDArray[np.float64]], "dict[str, NDArray[Any]]"]
"""Every metric from summed tallies of shape (..., k)."""

LEVEL = 0.95
_CELLS = 4_000_000
"""Numbers in memory at once: 32 MB of weights, and as much of sums."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value and the range that holds 95 % of its resamples; NaN where it can't be computed."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def intervals(tally: NDArray[Any], summarise: Summarise, rounds: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Percentile bootstrap (Efron 1979) of every metric; `tally` has shape (units, k). Equal seeds give equal intervals."""
    whole = np.asarray(tally, np.float64)
    drawn = [summarise(weights @ whole) for weights in _weights(whole, rounds, seed)]
    return _between(summarise(whole.sum(axis=0)), _joined(drawn))


def paired(
    first: tuple[NDArray[Any], Summarise], second: tuple[NDArray[Any], Summarise], rounds: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """The difference first − second of every metric that both have, each round drawing the same units for both.

    Each side is its tally of shape (units, k), where k may differ, and its `summarise`. ValueError unless units are equal.
    """
    (left, summarise_left), (right, summarise_right) = first, second
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    if len(a) != len(b):
        raise ValueError(f"A paired bootstrap needs the same units on both sides; got {len(a)} and {len(b)}.")
    both = np.concatenate([a, b], axis=1)
    cut = a.shape[1]

    def difference(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        ours, theirs = summarise_left(total[..., :cut]), summarise_right(total[..., cut:])
        return {name: np.asarray(ours[name]) - np.asarray(theirs[name]) for name in ours if name in theirs}

    return intervals(both, difference, rounds, seed)


def _weights(tally: NDArray[np.float64], rounds: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each unit is drawn, in chunks of rounds; shape (chunk, units).

    Every round has its own random stream, so that the chunks, and with them the memory, don't change what is drawn.
    """
    units, size = tally.shape
    chunk = max(1, _CELLS // max(1, units, size))
    streams = np.random.SeedSequence(seed).spawn(rounds)
    for start in range(0, rounds, chunk):
        part = streams[start : start + chunk]
        weights = np.empty((len(part), units))
        for row, stream in enumerate(part):
            weights[row] = np.bincount(np.random.default_rng(stream).integers(0, max(1, units), units), minlength=units)
        yield weights


def _joined(drawn: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[np.float64]]:
    """The metrics of all chunks, one array of shape (rounds,) each."""
    return {name: np.concatenate([np.asarray(part[name], np.float64).reshape(-1) for part in drawn]) for name in drawn[0]}


def _between(measured: dict[str, NDArray[Any]], drawn: dict[str, NDArray[np.float64]]) -> dict[str, Interval]:
    """The middle 95 % of each metric's rounds; rounds in which it is undefined are left out, unless most are."""
    result = {}
    for name, values in drawn.items():
        known = values[np.isfinite(values)]
        low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if 2 * len(known) > len(values) else (np.nan, np.nan)
        result[name] = Interval(float(measured[name]), float(low), float(high))
    return result
