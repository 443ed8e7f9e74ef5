"""The page of a monitoring, from figures alone."""

from __future__ import annotations

from typing import Any

import pytest

from vertune.reports.monitoring import page


def one(name: str, **about: Any) -> dict[str, Any]:
    window = {"begin": 0.0, "end": 3600.0, "value": 0.1, "low": 0.05, "high": 0.2, "p": 0.5, "adjusted": 0.9, "n": 500, "verdict": "quiet",
              "confirmed": False}  # fmt: skip
    windows = [{**window, "end": 3600.0 * number} for number in range(1, 4)]
    return {
        "name": name, "title": f"share of {name}", "unit": "share", "about": "Sees something.", "verdict": "quiet", "confirmed": False,
        "why": "10.0 % do.", "evidence": [], "windows": windows, "options": {}, **about,
    }  # fmt: skip


def found(*monitors: dict[str, Any], **about: Any) -> dict[str, Any]:
    return {
        "name": "support", "model": "support-1", "source": "log.csv", "requests": 2000, "window": 500, "level": 0.05, "least": 200,
        "version": "1", "windows": 3, "false_alarms": {"looks": 3, "expected": 0.15, "tests": len(monitors)}, "monitors": list(monitors),
        "episodes": [], "reference": "300 validation rows.", "notes": [], **about,
    }  # fmt: skip


CHANGED = {"verdict": "changed", "confirmed": True, "evidence": [{"word": "<b>app</b>", "share in the window": 0.25}]}
EPISODE = {"monitor": "words", "began": 0.0, "seen": 7200.0, "ended": 10_800.0}


def test_a_change_is_the_headline_with_its_time_and_evidence():
    text = page(found(one("words", **CHANGED), one("lengths"), episodes=[EPISODE]))
    assert "1 thing has changed." in text
    assert "Since 1970-01-01 00:00 UTC: share of words." in text
    assert "&lt;b&gt;app&lt;/b&gt;" in text
    assert "25.0\N{NO-BREAK SPACE}%" in text
    assert "1 of 2" in text


def test_nothing_changed_says_how_many_can_not_tell():
    silent = one("states", verdict="unknown", why="There are no vectors.")
    silent["windows"] = [{**window, "value": None, "low": None, "high": None, "adjusted": None} for window in silent["windows"]]
    text = page(found(one("words"), silent))
    assert "Nothing has changed." in text
    assert "1 other can&#39;t tell" in text
    assert "There are no vectors." in text


def test_a_change_in_one_window_waits_for_the_next():
    text = page(found(one("words", verdict="changed"), one("lengths")))
    assert "1 monitor saw a change in the last window alone; the next one decides." in text
    assert "changed once" in text


def test_a_change_that_is_over_is_listed():
    text = page(found(one("words"), episodes=[EPISODE]))
    assert "from 1970-01-01 00:00 UTC to 1970-01-01 03:00 UTC" in text


@pytest.mark.parametrize(
    ("title", "words"), [("error rate on feedback", "as users say"), ("estimated accuracy", "estimated from confidences")]
)
def test_how_good_the_model_is_now(title, words):
    assert words in page(found(one("quality", title=title)))
    assert "Unknown" in page(found(one("words")))


def test_false_alarms_are_stated():
    text = page(found(one("words")))
    assert "1 in 20" in text
    assert "0.150 in 3 windows are to be expected" in text


def test_windows_without_times_and_a_single_window():
    timeless = one("words")
    timeless["windows"] = [{**window, "begin": None, "end": None} for window in timeless["windows"]]
    single = one("lengths")
    single["windows"] = single["windows"][:1]
    text = page(found(timeless, single, episodes=[{**EPISODE, "began": None}]))
    assert ">window<" in text
