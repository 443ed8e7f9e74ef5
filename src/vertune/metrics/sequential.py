"""Confidence bounds of rates that hold at every moment, however often one looks, and comparisons of two rates with them.

For independent trials with success rate p, the ratio of a mixture of likelihoods to the likelihood at p is a martingale with mean 1; by
the inequality of Ville it exceeds 1/α at any time with probability α at most. The rates at which it does not exceed 1/α are therefore a
confidence set at all times together (Robbins 1970; Darling and Robbins 1967). The mixture is uniform, whose likelihood is a beta function.
"""

from __future__ import annotations

import math

_STEPS = 60
"""Halvings of an interval by which a bound is found; more than the digits of a float64."""


def bounds(successes: int, trials: int, alpha: float) -> tuple[float, float]:
    """Return the lower and upper bound of a rate that hold at all times together with probability 1 - `alpha`."""
    if trials == 0:
        return 0.0, 1.0
    return _edge(successes, trials, alpha, 0.0), _edge(successes, trials, alpha, 1.0)


def is_higher(one: tuple[int, int], other: tuple[int, int], alpha: float, margin: float = 0.0) -> bool:
    """Return whether the first rate is higher than the second by more than `margin`.

    Each rate is a pair of successes and trials. If it is not higher, the answer is ever yes with probability `alpha` at most, however
    often it is asked while the counts grow.
    """
    if not (one[1] and other[1]) or one[0] / one[1] <= other[0] / other[1] + margin:
        return False  # an observed rate is within its bounds
    return _edge(*one, alpha / 2, 0.0) > _edge(*other, alpha / 2, 1.0) + margin


def _edge(successes: int, trials: int, alpha: float, outside: float) -> float:
    """Return the bound on the side of `outside`, which is 0 or 1: the last rate in the confidence set, found by halving."""
    failures, within = trials - successes, successes / trials
    if within == outside:
        return outside
    limit = math.lgamma(successes + 1) + math.lgamma(failures + 1) - math.lgamma(trials + 2) + math.log(alpha)

    def inside(rate: float) -> bool:
        """Return whether the likelihood at this rate is not too much smaller than the mixture's."""
        known = successes * math.log(rate) if successes else 0.0
        return known + (failures * math.log1p(-rate) if failures else 0.0) >= limit

    for _ in range(_STEPS):
        middle = (within + outside) / 2
        if middle in (within, outside):
            break
        within, outside = (middle, outside) if inside(middle) else (within, middle)
    return outside
