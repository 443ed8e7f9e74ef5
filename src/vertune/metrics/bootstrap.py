"""Confidence intervals of metrics by bootstrap and jackknife, for units that are records, queries or groups; independent of tasks.

Each unit has a tally, a row of numbers such as counts, and every metric is a function of the sum of the tallies. A
bootstrap round draws units at random, and is described by a row of weights: how often each unit was drawn. The sums of
all rounds are therefore one matrix product of weights and tallies, without a loop over records.

Percentiles of the rounds alone are too narrow for means over many classes of which each has few units: a class that a
round does not draw drops out of its mean, and a class with one error varies less in the rounds than in new samples. So
the percentiles are moved by the bias, and widened to the standard error, that the jackknife estimates (Quenouille 1956,
Tukey 1958; Efron and Tibshirani 1993, chapters 10 and 11), and widened for few units as Student's distribution is. As
counts move in steps, half of the largest step that a unit makes is added. What the plain percentiles contain is kept.
`benchmarks/coverage.py` measures how often the intervals contain the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.content import groups
from vertune.metrics.normal import QUANTILE

Summarise = Callable[[NDArray[np.float64]], "dict[str, NDArray[Any]]"]
"""A function that computes every metric from an array of shape (..., k): k counts that are summed over the units of a sample."""

Limits = Callable[[str], tuple[float, float]]
"""A function that returns the smallest and the largest possible value of a metric, from its name."""

LEVEL = 0.95
"""Confidence level of the intervals."""
_GROUPS = 2000
"""Largest number of parts that the jackknife leaves out in turn; with more units, a part has several of them."""
_CELLS = 4_000_000
"""Greatest size of an array of weights or of sums, in elements, to bound the memory: 32 MB each."""
_KEPT = 1_000_000
"""Greatest size of an array of weights that is kept for the next metric of as many units, in elements: 8 MB."""


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

    def within(self, limits: tuple[float, float]) -> Interval:
        """Return the interval without what lies beyond the least and the greatest possible value.

        An end that is not finite stays as it is, because nothing is known of it.
        """
        least, most = limits
        low, high = (min(max(end, least), most) if math.isfinite(end) else end for end in (self.low, self.high))
        return Interval(self.value, low, high)


def unlimited(name: str) -> tuple[float, float]:
    """Return the smallest and the largest value of a metric of which nothing is known."""
    return (-np.inf, np.inf)


def units(tally: NDArray[Any], records: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> NDArray[Any]:
    """Return what a bootstrap draws: the rows of `tally`, where those of records with equal values in `fields` are added up.

    Copies of one text get the same answer, so together they say no more about new texts than one of them. If `tally` has
    one row per query instead of one per record, it is returned unchanged.
    """
    return merged(tally, groups(records, fields)) if len(tally) == len(records) else tally


def merged(tally: NDArray[Any], members: NDArray[np.int64]) -> NDArray[np.float64]:
    """Add up the tallies of units that belong together, such as copies of one text, so that they are drawn together.

    `members` contains the number of the group of each unit, from 0. The result has one row per group.
    """
    result = np.zeros((int(members.max(initial=-1)) + 1, *tally.shape[1:]))
    np.add.at(result, members, tally)
    return result


def intervals(
    tally: NDArray[Any], summarise: Summarise, rounds: int = 1000, seed: int = 0, limits: Limits = unlimited
) -> dict[str, Interval]:
    """Return every metric with its 95 % interval: bootstrap percentiles (Efron 1979), corrected by the jackknife.

    `tally` has the shape (units, k): one row of numbers, such as counts, per record or query. `summarise` computes the
    metrics from the sum of the rows. `limits` returns the smallest and the largest possible value of a metric. The same
    seed always gives the same intervals.
    """
    units = np.asarray(tally, np.float64)
    total = units.sum(axis=0)
    resampled = _concatenate([summarise(weights @ units) for weights in _weights(units, rounds, seed)])
    left_out = _left_out(units, summarise, seed)
    value = summarise(total)
    return {name: _interval(float(value[name]), values, left_out[name], len(units), limits(name)) for name, values in resampled.items()}


def paired(first: Tallies, second: Tallies, rounds: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Return the difference `first` − `second` of every metric that both have, with its 95 % bootstrap interval.

    In each bootstrap round, the same units (records or queries) are drawn for both. Raises ValueError if `first` and
    `second` have different numbers of units; the number of values per unit may differ.
    """
    both, difference = _side_by_side(first, second)
    return intervals(both, difference, rounds, seed)


def paired_normal(first: Tallies, second: Tallies, rounds: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Return the differences that `paired` returns, with intervals from the spread of the rounds alone, as that of a normal distribution.

    It is for metrics that are not smooth, such as a calibration error, which is a sum of absolute values: leaving out one unit
    says little about those, so the jackknife does not apply.
    """
    both, difference = _side_by_side(first, second)
    resampled = _concatenate([difference(weights @ both) for weights in _weights(both, rounds, seed)])
    value = difference(both.sum(axis=0))
    halves = {name: QUANTILE * float(np.std(values)) for name, values in resampled.items()}
    return {name: Interval(float(value[name]), float(value[name]) - half, float(value[name]) + half) for name, half in halves.items()}


def _side_by_side(first: Tallies, second: Tallies) -> tuple[NDArray[np.float64], Summarise]:
    """Return the units of both in one array, and a function that computes the differences of all metrics from sums of its rows."""
    a, b = np.asarray(first.units, np.float64), np.asarray(second.units, np.float64)
    if len(a) != len(b):
        raise ValueError(
            f"The two sets of predictions are for {len(a)} and {len(b)} units (records or queries), but a paired bootstrap needs the same "
            "units in both. Pass predictions for the same records."
        )
    width = a.shape[1]

    def difference(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        left, right = first.summarise(total[..., :width]), second.summarise(total[..., width:])
        return {name: np.asarray(left[name]) - np.asarray(right[name]) for name in left if name in right}

    return np.concatenate([a, b], axis=1), difference


def equivalence(first: Tallies, second: Tallies, rounds: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Return the differences that `paired` returns, with intervals from which it can be concluded that two models are as good.

    If nearly all answers are equal, the rounds hardly differ, although the answers for other units could. So no interval is
    narrower than if one unit was answered differently, as if half a unit had been added on each side (Agresti and Min 2005).
    """
    floors = [_largest_steps(side, np.asarray(side.units, np.float64), seed) for side in (first, second)]
    return {
        name: _at_least(found, QUANTILE * max(floor[name] for floor in floors))
        for name, found in paired(first, second, rounds, seed).items()
    }


def _largest_steps(tallies: Tallies, units: NDArray[np.float64], seed: int) -> dict[str, float]:
    """Return for each metric the largest change by leaving out one unit; 0 if it can't be computed."""
    value = tallies.summarise(units.sum(axis=0))
    left_out = _left_out(units, tallies.summarise, seed)
    steps = {name: np.abs(changed - float(value[name])) * len(changed) / max(1, len(units)) for name, changed in left_out.items()}
    return {name: float(np.max(step[np.isfinite(step)], initial=0.0)) for name, step in steps.items()}


def _at_least(found: Interval, half: float) -> Interval:
    """Return the interval, widened so that both ends are at least `half` away from the value."""
    return Interval(found.value, min(found.low, found.value - half), max(found.high, found.value + half))


def _weights(tally: NDArray[np.float64], rounds: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield the weights of several bootstrap rounds at a time: how often each unit (record or query) is drawn in each round.

    The shape is (rounds, units); the number of rounds is chosen so that the array takes at most about 32 MB. Every
    round has its own random stream, so the draws do not depend on how many rounds one array contains.
    """
    units, size = tally.shape
    chunk = max(1, _CELLS // max(1, units, size))
    if rounds * units <= _KEPT:
        kept = _kept(units, rounds, seed)
        yield from (kept[start : start + chunk] for start in range(0, rounds, chunk))
        return
    streams = np.random.SeedSequence(seed).spawn(rounds)
    for start in range(0, rounds, chunk):
        yield _drawn(streams[start : start + chunk], units)


def _drawn(streams: Sequence[np.random.SeedSequence], units: int) -> NDArray[np.float64]:
    """Return how often each unit is drawn in the round of each of these random streams, shape (rounds, units)."""
    weights = np.empty((len(streams), units))
    for row, stream in enumerate(streams):
        weights[row] = np.bincount(np.random.default_rng(stream).integers(0, max(1, units), units), minlength=units)
    return weights


@lru_cache(maxsize=4)
def _kept(units: int, rounds: int, seed: int) -> NDArray[np.float64]:
    """Return the weights of all rounds, which depend on the number of units alone: a report has many metrics of the same units."""
    weights = _drawn(np.random.SeedSequence(seed).spawn(rounds), units)
    weights.flags.writeable = False
    return weights


def _concatenate(chunks: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[np.float64]]:
    """Join the metrics of several groups of bootstrap rounds; return one array of shape (rounds,) per metric."""
    return {name: np.concatenate([np.asarray(chunk[name], np.float64).reshape(-1) for chunk in chunks]) for name in chunks[0]}


def _left_out(units: NDArray[np.float64], summarise: Summarise, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return the values of every metric without each part of the units in turn, as the jackknife needs them."""
    total, parts = units.sum(axis=0), _parts(units, seed)
    return _concatenate([summarise(total - parts[start : start + step]) for start, step in _chunks(parts)])


def _parts(units: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the sums of the tallies of the parts that the jackknife leaves out: one unit each, or random groups if there are many."""
    if len(units) <= _GROUPS:
        return units
    return merged(units, np.random.default_rng(seed).permutation(len(units)) % _GROUPS)


def _chunks(parts: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Yield the first index and the number of the parts that are processed together, to bound the memory."""
    step = max(1, _CELLS // max(1, parts.shape[1]))
    for start in range(0, max(1, len(parts)), step):
        yield start, step


def _interval(
    value: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64], units: int, limits: tuple[float, float]
) -> Interval:
    """Return the interval of one metric.

    `resampled` are its values in the bootstrap rounds, `left_out` its values without each part of the units. Values that
    are NaN or infinite are skipped. If at least half of the rounds are skipped, the interval is NaN.
    """
    finite = resampled[np.isfinite(resampled)]
    if 2 * len(finite) <= len(resampled):
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    left_out = left_out[np.isfinite(left_out)]
    spread = float(finite.std())
    if len(left_out) > 1 and spread > 0 and np.isfinite(value):
        count, mean = len(left_out), float(left_out.mean())
        bias = (count - 1) * (mean - value)
        error = math.sqrt((count - 1) / count * float(((left_out - mean) ** 2).sum()))
        wider = max(1.0, error / spread) * _student(units - 1) / QUANTILE * math.sqrt(units / (units - 1))
        centre, half = value - bias, 0.5 * float(np.abs(left_out - value).max()) * (units <= _GROUPS)
        corrected = [centre + (end - float(finite.mean())) * wider for end in (low, high)]
        low, high = min(low, corrected[0] - half), max(high, corrected[1] + half)
    least, most = limits
    if spread == 0 and value in limits:  # no unit differs, but 1 - 0.025^(1/units) of all could (Clopper and Pearson 1934)
        could = (most - least) * (1 - ((1 - LEVEL) / 2) ** (1 / units))
        low, high = value - could, value + could
    return Interval(value, float(np.clip(low, least, most)), float(np.clip(high, least, most)))


def _student(freedom: int) -> float:
    """Return the quantile of Student's distribution for the upper end of a 95 % interval (expansion of Cornish and Fisher 1937)."""
    z, nu = QUANTILE, max(1, freedom)
    return z + (z**3 + z) / (4 * nu) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * nu**2)
