"""Confidence intervals of metrics by bootstrap resampling of units (records or queries); independent of tasks.

Each unit has a tally, a row of numbers such as counts, and every metric is a function of the sum of the tallies. A
bootstrap round draws units at random, and is described by a row of weights: how often each unit was drawn. The sums of
all rounds are therefore one matrix product of weights and tallies, without a loop over records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Summarise = Callable[[NDArray[np.float64]], "dict[str, NDArray[Any]]"]
"""A function that computes every metric from an array of shape (..., k): k counts that are summed over the units of a sample."""

LEVEL = 0.95
"""Confidence level of the intervals."""
_CELLS = 4_000_000
"""Greatest size of an array of weights or of sums, in elements, to bound the memory: 32 MB each."""


@dataclass(frozen=True, slots=True)
class Tallies:
    """The predictions of one model, reduced to what is needed to compute metrics of any sample of them.

    This is a tally (a row of numbers, such as counts) per record or query, and a function from sums of tallies to
    metrics.
    """

    units: NDArray[Any]
    """The tally of each unit (a record or query), shape (units, k)."""
    summarise: Summarise


@dataclass(frozen=True, slots=True)
class Interval:
    """The value of a metric and the two ends of its 95 % bootstrap interval; NaN where these can't be computed."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def intervals(tally: NDArray[Any], summarise: Summarise, rounds: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Return every metric with its 95 % percentile bootstrap interval (Efron 1979).

    `tally` has the shape (units, k): one row of numbers, such as counts, per record or query. `summarise` computes the
    metrics from the sum of the rows. The same seed always gives the same intervals.
    """
    units = np.asarray(tally, np.float64)
    resampled = [summarise(weights @ units) for weights in _weights(units, rounds, seed)]
    return _percentiles(summarise(units.sum(axis=0)), _concatenate(resampled))


def paired(first: Tallies, second: Tallies, rounds: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Return the difference `first` − `second` of every metric that both have, with its 95 % bootstrap interval.

    In each bootstrap round, the same units (records or queries) are drawn for both. Raises ValueError if `first` and
    `second` have different numbers of units; the number of values per unit may differ.
    """
    a, b = np.asarray(first.units, np.float64), np.asarray(second.units, np.float64)
    if len(a) != len(b):
        raise ValueError(
            f"The two sets of predictions are for {len(a)} and {len(b)} units (records or queries), but a paired bootstrap needs the same "
            "units in both. Pass predictions for the same records."
        )
    both = np.concatenate([a, b], axis=1)
    width = a.shape[1]

    def difference(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        left, right = first.summarise(total[..., :width]), second.summarise(total[..., width:])
        return {name: np.asarray(left[name]) - np.asarray(right[name]) for name in left if name in right}

    return intervals(both, difference, rounds, seed)


def _weights(tally: NDArray[np.float64], rounds: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield the weights of several bootstrap rounds at a time: how often each unit (record or query) is drawn in each round.

    The shape is (rounds, units); the number of rounds is chosen so that the array takes at most about 32 MB. Every
    round has its own random stream, so the draws do not depend on how many rounds one array contains.
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


def _concatenate(chunks: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[np.float64]]:
    """Join the metrics of several groups of bootstrap rounds; return one array of shape (rounds,) per metric."""
    return {name: np.concatenate([np.asarray(chunk[name], np.float64).reshape(-1) for chunk in chunks]) for name in chunks[0]}


def _percentiles(metrics: dict[str, NDArray[Any]], resampled: dict[str, NDArray[np.float64]]) -> dict[str, Interval]:
    """Return, for each metric, the range of the middle 95 % of its values in the bootstrap rounds.

    `metrics` contains the values of the metrics without resampling, `resampled` their values in the rounds, shape
    (rounds,). Values that are NaN or infinite are skipped. If at least half of the values of a metric are skipped, its
    interval is NaN.
    """
    result = {}
    for name, values in resampled.items():
        finite = values[np.isfinite(values)]
        low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if 2 * len(finite) > len(values) else (np.nan, np.nan)
        result[name] = Interval(float(metrics[name]), float(low), float(high))
    return result
