"""How many requests are usual in each hour of the week or of the day, and how much that varies; knows nothing of requests and monitors.

Requests come in bursts, so the numbers of an hour vary more than by chance. The factor by which they do is the dispersion of a
quasi-Poisson model (McCullagh and Nelder 1989).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

HOUR = 3600.0
"""Seconds of an hour."""
DAILY, WEEKLY = 24 * 3, 24 * 13
"""Number of hours from which those of a day, and those of a week, are told apart."""
_WEEK = 24 * 7


@dataclass(frozen=True, slots=True)
class HourlyRates:
    """The usual number of requests in each hour of a week or of a day, or in any hour, as far as it is known."""

    rates: NDArray[np.float64]
    """The usual numbers, shape (hours after which they repeat,)."""
    factor: float
    """The variance of the number of an hour, divided by that of a Poisson distribution; 1 or more."""
    times: float
    """How often each of these hours was counted, on average."""

    @classmethod
    def of(cls, hours: Sequence[tuple[float, int]]) -> Self:
        """Return the rates of hours, each with its beginning in seconds since 1970 and its number of requests."""
        counts = np.array([count for _, count in hours], np.float64)
        period = _WEEK if len(hours) >= WEEKLY else 24 if len(hours) >= DAILY else 1
        places = np.array([start // HOUR % period for start, _ in hours], np.int64)
        counted = np.bincount(places, minlength=period)
        rates = np.bincount(places, counts, period) / np.maximum(counted, 1)
        usual = rates[places]
        freedom = max(1, len(hours) - int((counted > 0).sum()))
        factor = max(1.0, float(((counts - usual) ** 2 / np.maximum(usual, 0.5)).sum()) / freedom)
        return cls(rates, factor, len(hours) / period)

    @property
    def is_weekly(self) -> bool:
        """Whether the hours of a week are told apart, so that a weekend is as usual."""
        return len(self.rates) == _WEEK

    def between(self, begin: float, end: float) -> float:
        """Return the usual number of requests between two times, in seconds since 1970."""
        total, at = 0.0, begin
        while at < end:
            until = min(end, (math.floor(at / HOUR) + 1) * HOUR)
            total += self._rate(at) * (until - at) / HOUR
            at = until
        return total

    def before(self, end: float, number: float, longest: float) -> float | None:
        """Return the last time since which so many requests are usual until `end`; None if that takes more than `longest` seconds."""
        at, total = end, 0.0
        while total < number:
            begin = max((math.ceil(at / HOUR) - 1) * HOUR, end - longest)
            if begin >= at:
                return None
            total += self._rate(begin) * (at - begin) / HOUR
            at = begin
        return at

    def spread(self, expected: float) -> float:
        """Return the standard error of a number of requests divided by the usual one, `expected`, which is not known exactly either."""
        known = min(expected, float(self.rates.sum())) * self.times
        return math.sqrt(self.factor * (1 / max(expected, 1.0) + 1 / max(known, 1.0)))

    def _rate(self, at: float) -> float:
        return float(self.rates[int(at // HOUR % len(self.rates))])
