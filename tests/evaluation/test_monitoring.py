"""Decisions over the findings of many monitors: correction, enough requests, two windows in a row, and what is an alarm."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from vertune.core.monitor import Finding, Monitor
from vertune.evaluation.monitoring import LEAST, LEVEL, Outcome, Subject, carried, episodes, false_alarms, judge
from vertune.testing.monitors import window


class Fixed(Monitor):
    """Always finds the same."""

    p: float | None = 1.0
    """What it finds."""
    changed: bool | None = True
    """Likewise."""
    n: int = 500
    """Likewise."""

    @property
    def name(self) -> str:
        return f"fixed {self.p}"

    def compare(self, reference, window):
        return Finding(1.0, p=self.p, changed=self.changed, why="fixed", n=self.n)


class Stream(Fixed):
    """Watches the stream."""

    sequential = True


def look(*monitors, previous=None, vertical="v"):
    return judge([Subject(vertical, monitors, window(5), window(5, 1))], previous or {})


def verdicts(outcomes):
    return [one.verdict for one in outcomes]


def test_findings_are_corrected_together():
    assert verdicts(look(Fixed(p=0.009))) == ["changed"]
    assert verdicts(look(Fixed(p=0.009), *[Fixed(p=0.5, changed=False)] * 9)) == ["quiet", *["quiet"] * 9]
    several = judge([Subject(name, [Fixed(p=0.004)], window(5), window(5)) for name in "abc"], {})
    assert [(one.adjusted, one.verdict) for one in several] == [(pytest.approx(0.004), "changed")] * 3


def test_a_small_difference_is_no_change_however_significant():
    assert verdicts(look(Fixed(p=1e-9, changed=False))) == ["quiet"]


def test_few_requests_decide_nothing_unless_the_monitor_watches_the_stream():
    assert verdicts(look(Fixed(p=1e-9, n=LEAST - 1), Stream(p=None, n=30))) == ["unknown", "changed"]
    assert verdicts(look(Fixed(p=None, changed=None))) == ["unknown"]


def test_a_change_is_confirmed_by_the_window_before():
    first = look(Fixed(p=1e-9))
    second = look(Fixed(p=1e-9), previous=carried({}, first))
    assert [first[0].confirmed, second[0].confirmed] == [False, True]
    between = carried(carried({}, first), look(Fixed(p=1e-9, n=3)))  # unknown neither confirms nor contradicts
    assert look(Fixed(p=1e-9), previous=between)[0].confirmed


def test_monitors_get_the_windows_that_they_need():
    seen = {}

    class Seen(Fixed):
        def compare(self, reference, window):
            seen[type(self)] = (len(reference), len(window))
            return super().compare(reference, window)

    class OfStream(Seen):
        sequential = True

    class Back(Seen):
        reaches_back = True

    class Times(Seen):
        needs = frozenset({"times"})

    class Lacking(Seen):
        needs = frozenset({"feedback"})

    rows = window(50)
    reference = window(40, at=np.full(40, np.nan), right=np.full(40, np.nan))
    early = window(30, right=np.full(30, np.nan))
    found = judge([Subject("v", [Seen(), OfStream(), Back(), Times(), Lacking()], reference, rows, window(900), early)], {})
    assert seen == {Seen: (40, 50), OfStream: (40, 900), Back: (40, LEAST), Times: (30, 50)}
    assert found[-1].finding.why == "The reference has no feedback."


def outcome(begin, verdict, confirmed=False):
    return Outcome("v", Fixed(), begin, begin + 10, Finding(1.0), verdict, None, confirmed=confirmed)


def test_an_episode_begins_with_the_first_window_and_ends_with_the_last():
    looks = [[outcome(0, "changed")], [outcome(10, "changed", True)], [outcome(20, "changed", True)], [outcome(30, "quiet")]]
    (found,) = episodes(looks, cool_down=5)
    assert (found.began, found.seen, found.ended) == (0, 20, 30)


@pytest.mark.parametrize(("cool_down", "count"), [(5, 2), (100, 1)])
def test_a_change_that_comes_back_soon_is_the_same(cool_down, count):
    looks = [[outcome(0, "changed")], [outcome(10, "changed", True)], [outcome(20, "quiet")]]
    looks += [[outcome(60, "changed")], [outcome(70, "changed", True)]]
    found = episodes(looks, cool_down)
    assert len(found) == count
    assert (found[-1].began, found[-1].ended) == ((60, 80) if count == 2 else (0, 80))


def test_expected_false_alarms_grow_with_looks_and_are_shared_by_verticals():
    assert false_alarms(100, 400, after=1) == pytest.approx(LEVEL * 400, rel=0.01)
    assert false_alarms(100, 400, own=10) == pytest.approx(false_alarms(100, 400) / 10)
    assert false_alarms(100, 400) < false_alarms(100, 400, after=1) / 5
    assert false_alarms(0, 400) == 0


@pytest.mark.parametrize("after", [1, 2, 3])
def test_expected_false_alarms_are_those_of_windows_that_overlap_by_half(after):
    halves = np.random.default_rng(1).standard_normal((400_000, after + 1))
    seen = (halves[:, 1:] + halves[:, :-1]) / np.sqrt(2) > NormalDist().inv_cdf(1 - LEVEL / 2)
    expected = false_alarms(1, 1, after=after)
    assert expected == pytest.approx(2 * seen.all(1).mean(), rel=0.1)


def test_figures_that_are_not_finite_are_none():
    class Odd(Fixed):
        def compare(self, reference, window):
            return Finding(float("nan"), float("-inf"), np.float64(2.0), 0.5, False, "odd", n=300)

    (found,) = look(Odd())
    assert (found.finding.value, found.finding.low, found.finding.high) == (None, None, 2.0)
