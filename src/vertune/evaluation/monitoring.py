"""Decides over the findings of all monitors of all verticals together; knows nothing of databases, files and people.

One monitor of a hundred errs in every look. So a finding counts if it is still significant after a correction for all findings of the
same look (Benjamini and Hochberg 1995), if it is large enough for its monitor, and if it was made from enough requests. It is confirmed
if the window before said the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy as np

from vertune.core.monitor import LEAST, Finding, Monitor, Unit, Verdict, Window
from vertune.metrics.multiple import adjusted

LEVEL = 0.05
"""The largest expected share of false discoveries among those of one look, and the largest probability of any if nothing has changed."""
_FAR, _POINTS = 9.0, 6000
"""How far from 0, and at how many points, normal variables are integrated."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One vertical in one look."""

    vertical: str
    monitors: Sequence[Monitor]
    reference: Window
    window: Window
    history: Window | None = None
    """All requests with feedback since the reference, to the end of the window; None if these are those of the window."""
    early: Window | None = None
    """The first requests, in place of the reference for monitors that need what it does not hold, such as times."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one monitor found of one vertical in one look, and what was decided."""

    vertical: str
    monitor: Monitor
    begin: float
    end: float
    """When the first and the last request of the window arrived, in seconds since 1970; NaN if this is not known."""
    finding: Finding
    verdict: Verdict
    adjusted: float | None
    """The p after the correction; None if it has none."""
    confirmed: bool
    """Whether the window before had the same verdict `changed`."""

    @property
    def title(self) -> str:
        """What the value is."""
        return self.monitor.title

    @property
    def unit(self) -> Unit:
        """The unit of the value."""
        return self.monitor.unit


def judge(subjects: Sequence[Subject], previous: Mapping[tuple[str, str], Verdict]) -> list[Outcome]:
    """Ask all monitors of all subjects, and decide over their findings together.

    `previous` has the verdicts of the look before, by vertical and monitor; `unknown` ones of earlier looks are best left out, because
    they neither confirm nor contradict.
    """
    asked = [(subject, monitor, ask(monitor, subject)) for subject in subjects for monitor in subject.monitors]
    tested = [number for number, (_, monitor, found) in enumerate(asked) if _counts(monitor, found) and found.p is not None]
    levels = dict(zip(tested, adjusted([asked[number][2].p or 0.0 for number in tested]).tolist(), strict=True))
    outcomes = []
    for number, (subject, monitor, found) in enumerate(asked):
        verdict = _verdict(monitor, found, levels.get(number))
        begin, end = _ends(subject.window)
        confirmed = verdict == "changed" and previous.get((subject.vertical, monitor.name)) == "changed"
        outcomes.append(
            Outcome(
                subject.vertical, monitor, begin, end, _finite(found), verdict=verdict, adjusted=levels.get(number), confirmed=confirmed
            )
        )
    return outcomes


def ask(monitor: Monitor, subject: Subject) -> Finding:
    """Return the finding of one monitor, or a silent one with the reason if it can't compare these windows."""
    window, reference = subject.window, subject.reference
    if monitor.sequential and subject.history is not None:
        window = subject.history
    elif monitor.reaches_back and subject.history is not None:
        window = _extended(subject)
    lacking, early = monitor.lacks(reference, window), subject.early
    if lacking and early is not None and not monitor.lacks(early, window):
        reference, lacking = early, ""
    if lacking:
        return Finding.silent(lacking, len(window))
    found = monitor.compare(reference, window)
    if found.changed is None and monitor.reaches_back and window is not subject.window:  # feedback alone does not tell
        return monitor.compare(reference, subject.window) if not monitor.lacks(reference, subject.window) else found
    return found


def carried(previous: Mapping[tuple[str, str], Verdict], outcomes: Sequence[Outcome]) -> dict[tuple[str, str], Verdict]:
    """Return the verdicts with which the next look is judged: the newest of each monitor that is not `unknown`."""
    found = {(one.vertical, one.monitor.name): one.verdict for one in outcomes if one.verdict != "unknown"}
    return {**previous, **found}


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of time in which a change was confirmed."""

    vertical: str
    monitor: str
    began: float
    """When the first window of it began."""
    seen: float
    """When the window ended that confirmed it."""
    ended: float
    """When the last window ended in which it was seen."""


def episodes(looks: Sequence[Sequence[Outcome]], cool_down: float) -> list[Episode]:
    """Return the changes that people should know of, from successive looks, oldest first.

    A change that comes back within `cool_down` seconds after its end is the same one.
    """
    found: dict[tuple[str, str], list[Episode]] = {}
    since: dict[tuple[str, str], float] = {}
    for look in looks:
        for one in look:
            key = one.vertical, one.monitor.name
            if one.verdict == "quiet":
                since.pop(key, None)
            if one.verdict == "changed":
                since.setdefault(key, one.begin)
            if not one.confirmed:
                continue
            listed = found.setdefault(key, [])
            if listed and one.begin - listed[-1].ended <= cool_down:
                listed[-1] = replace(listed[-1], ended=one.end)
            else:
                listed.append(Episode(*key, since[key], one.end, one.end))
    return sorted((one for listed in found.values() for one in listed), key=lambda one: (one.seen, one.monitor))


def false_alarms(tests: int, looks: float, own: int | None = None, after: int = 2) -> float:
    """Return how many false alarms are to be expected in so many looks if nothing changes.

    In each look, `tests` findings are corrected for one another; `own` of them are those whose alarms are counted, None counts all. An
    alarm needs the same finding in `after` successive looks. Tests and requests are taken to be independent of each other, and each window
    to overlap with the next one by half.
    """
    if tests < 1:
        return 0.0
    return looks * (tests if own is None else own) * _chance(LEVEL / tests, after)


@cache
def _chance(level: float, run: int) -> float:
    """Return the probability that a test finds something, on the same side, at this level in each of `run` windows if nothing has changed.

    Successive windows share a half, so each is the sum of two neighbours in a sequence of independent normal variables. The probability is
    integrated from one variable to the next.
    """
    step = 2 * _FAR / _POINTS
    at = (np.arange(_POINTS) + 0.5) * step - _FAR
    density = np.exp(-0.5 * at**2) / math.sqrt(2 * math.pi) * step
    limit = math.sqrt(2) * NormalDist().inv_cdf(1 - level / 2)
    mass = density
    for _ in range(run):
        above = np.concatenate([np.cumsum(mass[::-1])[::-1], [0.0]])  # the mass from each point on
        mass = density * above[np.searchsorted(at, limit - at)]
    return 2 * float(mass.sum())


def _counts(monitor: Monitor, found: Finding) -> bool:
    """Whether there are enough requests; a sequential monitor sees to that by itself."""
    return monitor.sequential or found.enough or found.n >= LEAST


def _verdict(monitor: Monitor, found: Finding, level: float | None) -> Verdict:
    if found.changed is None or not _counts(monitor, found):
        return "unknown"
    significant = level is None or level <= LEVEL
    return "changed" if found.changed and significant else "quiet"


def _extended(subject: Subject) -> Window:
    """Return the window with requests before it, until there are enough with feedback."""
    history = subject.history
    assert history is not None
    known = np.isfinite(history.right).nonzero()[0]
    if not len(known):
        return subject.window
    wanted = max(LEAST, int(np.isfinite(subject.window.right).sum()))
    return history.take(known[-wanted:])


def _ends(window: Window) -> tuple[float, float]:
    if window.span is not None:
        return window.span
    at = window.at[np.isfinite(window.at)]
    return (float(at[0]), float(at[-1])) if len(at) else (math.nan, math.nan)


def _finite(found: Finding) -> Finding:
    """Return the finding with None in place of figures that are not finite, which databases and JSON lack."""
    value, low, high, p = (
        None if one is None or not math.isfinite(one) else float(one) for one in (found.value, found.low, found.high, found.p)
    )
    return replace(found, value=value, low=low, high=high, p=p)
