"""Sees that there are far more or far fewer requests than usual at this time of the week or of the day, or none at all."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.distributions import two_sided
from vertune.metrics.hourly import HOUR, HourlyRates
from vertune.metrics.normal import QUANTILE
from vertune.monitors._shares import write_p

_HOURS = 6
"""Least number of complete hours of the reference."""


class Volume(Monitor):
    """Requests in an hour, compared with those of the reference in the same hours: of the week from 13 days on, of the day from three on.

    It also sees that hardly any request comes, or none. Requests come in bursts, so the numbers of an hour vary more than by chance; the
    factor by which they do is taken from the reference.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"times"})
    sees_pauses: ClassVar[bool] = True
    title: ClassVar[str] = "requests in an hour"
    unit: ClassVar[Unit] = "number"
    least: float = Field(default=0.5, gt=0, description="Relative difference from which it counts as a change: 0.5 is half as much again.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the number of requests in an hour."""
        before, now = (one.at[np.isfinite(one.at)] for one in (reference, window))
        hours = list(reference.hours) or _complete_hours(before)
        total = window.total or len(now)
        if window.span is not None:
            begin, end = window.span
        else:
            begin, end = (float(now[0]), float(now[-1])) if len(now) else (0.0, 0.0)
            total -= 1  # a stretch that is too short for a whole number of requests begins and ends with one
        if len(hours) < _HOURS or end <= begin:
            return Finding.silent(said("volume.few", hours=len(hours), needed=_HOURS), len(now))
        usual = HourlyRates.of(hours)
        expected = usual.between(begin, end)
        if expected <= 0:
            return Finding.silent(said("volume.none"), len(now))
        ratio = total / expected
        p = two_sided((ratio - 1) / usual.spread(expected))
        length = (end - begin) / HOUR
        per_hour, reach = total / length, QUANTILE * math.sqrt(usual.factor * max(1, total)) / length
        is_large = ratio >= 1 + self.least or ratio <= 1 / (1 + self.least)
        why = said("volume", rate=f"{per_hour:.3g}", ratio=f"{ratio:.2f}", p=write_p(p))
        if window.span is not None:
            why = said("volume.since", count=f"{total:,}", hours=f"{length:.3g}", expected=f"{expected:,.0f}", p=write_p(p))
        return Finding(
            per_hour, max(0.0, per_hour - reach), per_hour + reach, p, changed=p < SIGNIFICANT and is_large, why=why, evidence=[],
            n=window.total or len(now), enough=window.span is not None,
        )  # fmt: skip


def _complete_hours(at: NDArray[np.float64]) -> list[tuple[float, int]]:
    """Return the beginning of each hour that lies between the first and the last request, and the number of its requests."""
    if len(at) < 2:
        return []
    first, last = math.ceil(at[0] / HOUR), math.floor(at[-1] / HOUR)
    if last <= first:
        return []
    places = np.floor(at / HOUR).astype(np.int64) - first
    counts = np.bincount(places[(places >= 0) & (places < last - first)], minlength=last - first)
    return [((first + number) * HOUR, int(count)) for number, count in enumerate(counts)]
