"""Exact binomial tails and bounds of a share, by NumPy alone; knows nothing of what is counted."""

from __future__ import annotations

import math

import numpy as np


def lower_tail(count: int, trials: int, share: float) -> float:
    """Return the probability of at most `count` of `trials` independent events of a probability.

    Summed in logarithms, so that it is exact to rounding for any number of trials.
    """
    if count >= trials or share <= 0:
        return 1.0
    if count < 0 or share >= 1:
        return 0.0
    events = np.arange(1, count + 1)
    ratios = np.log((trials - events + 1) / events) + (math.log(share) - math.log1p(-share))
    logarithms = np.concatenate([[0.0], np.cumsum(ratios)]) + trials * math.log1p(-share)
    return min(1.0, float(np.exp(logarithms).sum()))


def upper_bound(count: int, trials: int, error: float) -> float:
    """Return the bound that the share of events exceeds with at most the probability `error` (Clopper and Pearson 1934)."""
    if trials == 0 or count >= trials:
        return 1.0
    low, high = count / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if lower_tail(count, trials, middle) > error else (low, middle)
    return high


def fewest(share: float, error: float, failed: int = 0) -> int:
    """Return the fewest trials of which at most `failed` fail that show, with an error probability, a share below the given one."""
    trials = math.ceil(math.log(error) / math.log1p(-share))
    while lower_tail(failed, trials, share) > error:
        trials += max(1, trials // 200)
    return trials
