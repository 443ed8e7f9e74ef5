"""Exact binomial tails and bounds of a share, by NumPy alone; knows nothing of what is counted."""

from __future__ import annotations

import math


def lower_tail(count: int, trials: int, share: float) -> float:
    """Return the probability of at most `count` of `trials` independent events of a probability.

    Summed in logarithms, so that it is exact to rounding for any number of trials.
    """
    if count >= trials or share <= 0:
        return 1.0
    if count < 0 or share >= 1:
        return 0.0
    start = math.lgamma(trials + 1)
    terms = (
        start - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(share) + (trials - k) * math.log1p(-share)
        for k in range(count + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, terms)))


def upper_bound(count: int, trials: int, error: float) -> float:
    """Return the bound that the share of events exceeds with at most the probability `error` (Clopper and Pearson 1934)."""
    if trials == 0 or count >= trials:
        return 1.0
    low, high = count / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if lower_tail(count, trials, middle) > error else (low, middle)
    return high


def fewest(share: float, error: float) -> int:
    """Return the fewest trials of which none may fail for the share to be below a bound with an error probability."""
    return math.ceil(math.log(error) / math.log1p(-share))
