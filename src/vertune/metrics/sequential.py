"""Confidence bounds of rates that hold at every moment, however often one looks, and comparisons of two rates with them.

For independent trials with success rate p, the ratio of a mixture of likelihoods to the likelihood at p is a martingale with mean 1; by
the inequality of Ville it exceeds 1/α at any time with probability α at most. The rates at which it does not exceed 1/α are therefore a
confidence set at all times together (Robbins 1970; Darling and Robbins 1967). The mixture is uniform, whose likelihood is a beta function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEPS = 60
"""Halvings of an interval by which a bound is found; more than the digits of a float64."""
_LARGEST = 20
"""Number of parts, those with most successes, that are left out one after the other."""
Pair = tuple[int, int]
"""Successes and trials."""


def bounds(successes: int, trials: int, alpha: float) -> tuple[float, float]:
    """Return the lower and upper bound of a rate that hold at all times together with probability 1 - `alpha`."""
    if trials == 0:
        return 0.0, 1.0
    return _edge(successes, trials, alpha, 0.0), _edge(successes, trials, alpha, 1.0)


def is_higher(one: Pair, other: Pair, alpha: float, margin: float = 0.0) -> bool:
    """Return whether the first rate is higher than the second by more than `margin`.

    Each rate is a pair of successes and trials. If it is not higher, the answer is ever yes with probability `alpha` at most, however
    often it is asked while the counts grow.
    """
    if not (one[1] and other[1]) or one[0] / one[1] <= other[0] / other[1] + margin:
        return False  # an observed rate is within its bounds
    return _edge(*one, alpha / 2, 0.0) > _edge(*other, alpha / 2, 1.0) + margin


def is_higher_without_any(parts: Sequence[tuple[Pair, Pair]], alpha: float, margin: float = 0.0) -> bool:
    """Return whether the first rate is higher than the second, of all parts together and also without any one of them.

    Each part has the successes and trials of both rates. No part alone decides then; the error is at most that of `is_higher`.
    """

    def of_all_but(left_out: int) -> bool:
        kept = [part for place, part in enumerate(parts) if place != left_out]
        one, other = ((sum(part[side][0] for part in kept), sum(part[side][1] for part in kept)) for side in (0, 1))
        return is_higher(one, other, alpha, margin)

    largest = sorted(range(len(parts)), key=lambda place: parts[place][0][0], reverse=True)[:_LARGEST]
    return of_all_but(-1) and all(map(of_all_but, largest))


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
