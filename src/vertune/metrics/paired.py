"""Compares two models by the differences of their scores on the same units, such as records; independent of tasks.

If each score is 0 or 1 (wrong or right), a difference is 1 (a gain), -1 (a loss) or 0, and only units on which the two models differ say
anything. The interval and the p-value are then those of the score test for paired proportions, which keeps its level for few units and
does not become empty if the models never differ (Tango 1998, "Equivalence test and confidence interval for the difference in proportions
for the paired-sample design"). For other scores, Student's distribution is used, in Wallace's approximation (1959).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.bootstrap import Interval

POWER = 0.8
"""Probability with which the number of units of `further_units` decides, if the difference is as large as assumed."""
_STEPS = 50
"""Halvings of an interval by which an end is found."""
_NORMAL = NormalDist()


def interval(differences: NDArray[Any], side: float) -> Interval:
    """Return the mean of the differences, shape (units,), with its interval; each end is wrong with probability `side` at most.

    So 0.025 gives the usual 95 % interval. Without units, all three numbers are NaN.
    """
    values = np.asarray(differences, np.float64)
    units = len(values)
    if not units:
        return Interval(math.nan, math.nan, math.nan)
    mean, quantile = float(values.mean()), _NORMAL.inv_cdf(1 - side)
    if _is_counted(values):
        gains, losses = _counts(values)
        low, high = (_end(gains, losses, units, sign * quantile) for sign in (1, -1))
        return Interval(mean, low, high)
    half = _student(quantile, units - 1) * _error(values)
    return Interval(mean, mean - half, mean + half)


def p_worse(differences: NDArray[Any], margin: float) -> float:
    """Return the one-sided p-value of the hypothesis that the mean difference is at least `-margin`; it is small if it is surely below."""
    values = np.asarray(differences, np.float64)
    units = len(values)
    if not units:
        return 1.0
    if _is_counted(values):
        return _NORMAL.cdf(_score(*_counts(values), units, -margin))
    error, distance = _error(values), float(values.mean()) + margin
    return _NORMAL.cdf(_normal(distance / error, units - 1)) if error else float(distance >= 0)


def standard_error(differences: NDArray[Any]) -> float:
    """Return the standard error of the mean difference; it is never 0, as if half a unit more were a gain and half a unit a loss."""
    values = np.asarray(differences, np.float64)
    return _error(np.concatenate([values, [0.5, -0.5]])) if _is_counted(values) else _error(values)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are corrected for the number of tests, in the same order.

    The probability that any true hypothesis has a corrected p-value of at most α is at most α, however the tests depend on each other
    (Holm 1979).
    """
    count = len(p_values)
    corrected, largest = [0.0] * count, 0.0
    for rank, place in enumerate(sorted(range(count), key=lambda number: p_values[number])):
        largest = max(largest, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def smallest_p(units: int, margin: float) -> float:
    """Return the smallest p-value that `p_worse` can return for this number of units, which is that of a loss on every unit."""
    return p_worse(-np.ones(units), margin)


def further_units(error: float, units: int, measured: float, assumed: float, side: float) -> float:
    """Return how many further units decide, with the probability `POWER`, that the mean difference is on one side of a limit.

    `measured` is how far the mean of the present units is on this side, which may be negative; `assumed` is how far the mean of further
    ones is. The decision is made on all units together, with the error probability `side`. `error` is the standard error with the present
    `units`. For right and wrong answers, its square times the number of units is the share of units on which the two models differ, less
    the square of the difference: two models that answer differently more often need more units. This is the conditional power of Lan and
    Wittes (1988), solved for the number of units. Infinite if `assumed` is not above 0, or if the spread is not known, as of one unit.
    """
    if not (assumed > 0 and math.isfinite(error) and math.isfinite(measured)):
        return math.inf
    spread, high = error * math.sqrt(units), 1.0

    def decides(further: float) -> bool:
        total = units + further
        mean = (units * measured + further * assumed) / total
        needed = normal_quantile(side) * spread / math.sqrt(total) + _NORMAL.inv_cdf(POWER) * spread * math.sqrt(further) / total
        return mean >= needed

    while not decides(high):
        high *= 2
    low = high / 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def normal_quantile(side: float) -> float:
    """Return how many standard errors an end of an interval is from the mean, of a normal distribution."""
    return _NORMAL.inv_cdf(1 - side)


def visible(error: float, side: float) -> float:
    """Return the smallest difference from a limit that is found with the probability `POWER`, for this standard error."""
    return (_NORMAL.inv_cdf(1 - side) + _NORMAL.inv_cdf(POWER)) * error


def widened(found: Interval, side: float) -> Interval:
    """Return a 95 % interval with the width that it has for another error probability on each side, as that of a normal distribution."""
    factor = _NORMAL.inv_cdf(1 - side) / _NORMAL.inv_cdf(0.975)
    return Interval(found.value, found.value - factor * (found.value - found.low), found.value + factor * (found.high - found.value))


def _is_counted(values: NDArray[np.float64]) -> bool:
    """Whether each difference is a gain, a loss or nothing."""
    return bool(np.isin(values, (-1.0, 0.0, 1.0)).all())


def _counts(values: NDArray[np.float64]) -> tuple[int, int]:
    """Return the number of gains and of losses."""
    return int((values > 0).sum()), int((values < 0).sum())


def _score(gains: int, losses: int, units: int, difference: float) -> float:
    """Return Tango's score statistic of the hypothesis that the difference of the proportions is `difference`.

    It is normal if the hypothesis is true. Its variance uses the most likely share of losses under the hypothesis.
    """
    a, b = 2 * units, (2 * units - gains + losses) * difference - gains - losses
    root = math.sqrt(max(0.0, b * b + 4 * a * losses * difference * (1 - difference)))
    variance = units * (2 * (root - b) / (2 * a) + difference * (1 - difference))
    excess = gains - losses - units * difference
    if variance <= 0:
        return 0.0 if abs(excess) < 1e-9 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def _end(gains: int, losses: int, units: int, quantile: float) -> float:
    """Return the difference for which the score is `quantile`, by halving; the score falls as the difference grows."""
    low, high = -1.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _score(gains, losses, units, middle) > quantile else (low, middle)
    return (low + high) / 2


def _error(values: NDArray[np.float64]) -> float:
    """Return the standard error of the mean."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _student(quantile: float, freedom: int) -> float:
    """Return the quantile of Student's distribution that belongs to a quantile of the normal distribution (Wallace 1959)."""
    if freedom < 1:
        return math.inf
    scaled = quantile * (8 * freedom + 3) / (8 * freedom + 1)
    return math.copysign(math.sqrt(freedom * math.expm1(scaled * scaled / freedom)), quantile)


def _normal(value: float, freedom: int) -> float:
    """Return the quantile of the normal distribution that belongs to one of Student's distribution (Wallace 1959)."""
    if freedom < 1:
        return 0.0
    scaled = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(value * value / freedom))
    return math.copysign(scaled, value)
