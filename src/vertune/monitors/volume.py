"""Sees that there are far more or far fewer requests than usual at this time of the day."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.distributions import two_sided
from vertune.metrics.normal import QUANTILE
from vertune.monitors._shares import write_p

_HOUR, _DAY = 3600.0, 86_400.0
_HOURS = 6
"""Least number of complete hours of the reference."""
_DAYS = 3
"""Number of days of the reference from which each hour of the day is compared with the same hour."""


class Volume(Monitor):
    """Requests in an hour, compared with those of the reference in the same hours of the day, if it has three days or more.

    Requests come in bursts, so the numbers of an hour vary more than by chance. The factor by which they do is taken from the reference
    (quasi-Poisson, McCullagh and Nelder 1989).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"times"})
    title: ClassVar[str] = "requests in an hour"
    unit: ClassVar[Unit] = "number"
    least: float = Field(default=0.5, gt=0, description="Relative difference from which it counts as a change: 0.5 is half as much again.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the number of requests in an hour."""
        before, now = (one.at[np.isfinite(one.at)] for one in (reference, window))
        hours = list(reference.hours) or _complete_hours(before)
        total = window.total or len(now)
        length = float(now[-1] - now[0]) if len(now) > 1 else 0.0
        if len(hours) < _HOURS or length <= 0:
            return Finding.silent(said("volume.few", hours=len(hours), needed=_HOURS), len(now))
        usual = _usual(hours)
        expected = _expected(usual, float(now[0]), float(now[-1]))
        if expected <= 0:
            return Finding.silent(said("volume.none"), len(now))
        rates = np.array([usual[int(start // _HOUR % 24)] for start, _ in hours])
        counts = np.array([count for _, count in hours])
        freedom = max(1, len(hours) - (24 if _by_hour(hours) else 1))
        factor = max(1.0, float(((counts - rates) ** 2 / np.maximum(rates, 0.5)).sum()) / freedom)
        # a window that is too short for a whole number of requests begins and ends with one, so one is taken off
        ratio = (total - 1) / expected
        spread = math.sqrt(factor * (1 / max(expected, 1.0) + 1 / max(1.0, float(counts.sum()))))
        p = two_sided((ratio - 1) / spread)
        per_hour = (total - 1) / (length / _HOUR)
        reach = QUANTILE * per_hour * math.sqrt(factor / max(1, total - 1))
        is_large = ratio >= 1 + self.least or ratio <= 1 / (1 + self.least)
        why = said("volume", rate=f"{per_hour:.3g}", ratio=f"{ratio:.2f}", p=write_p(p))
        return Finding(
            per_hour, max(0.0, per_hour - reach), per_hour + reach, p, changed=p < SIGNIFICANT and is_large, why=why, evidence=[], n=total
        )


def _complete_hours(at: NDArray[np.float64]) -> list[tuple[float, int]]:
    """Return the beginning of each hour that lies between the first and the last request, and the number of its requests."""
    if len(at) < 2:
        return []
    first, last = math.ceil(at[0] / _HOUR), math.floor(at[-1] / _HOUR)
    if last <= first:
        return []
    places = np.floor(at / _HOUR).astype(np.int64) - first
    counts = np.bincount(places[(places >= 0) & (places < last - first)], minlength=last - first)
    return [((first + number) * _HOUR, int(count)) for number, count in enumerate(counts)]


def _by_hour(hours: list[tuple[float, int]]) -> bool:
    """Whether there are enough days to tell the hours of a day apart."""
    return len(hours) >= 24 * _DAYS


def _usual(hours: list[tuple[float, int]]) -> NDArray[np.float64]:
    """Return the usual number of requests in each hour of the day, shape (24,)."""
    counts = np.array([count for _, count in hours], np.float64)
    if not _by_hour(hours):
        return np.full(24, counts.mean())
    of_day = np.array([int(start // _HOUR % 24) for start, _ in hours])
    return np.bincount(of_day, counts, 24) / np.maximum(np.bincount(of_day, minlength=24), 1)


def _expected(usual: NDArray[np.float64], begin: float, end: float) -> float:
    """Return the usual number of requests between two times."""
    total, at = 0.0, begin
    while at < end:
        until = min(end, (math.floor(at / _HOUR) + 1) * _HOUR)
        total += float(usual[int(at // _HOUR % 24)]) * (until - at) / _HOUR
        at = until
    return total
