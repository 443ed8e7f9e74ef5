"""Detectors on streams, beside those of river."""

from __future__ import annotations

import numpy as np
import pytest
from river import drift

from vertune.metrics.streams import Adwin, PageHinkley, last_change


def stream(seed: int, *parts: tuple[int, float]) -> list[float]:
    """Errors with one rate after the other."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.random(count) < rate for count, rate in parts]).astype(float).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_adwin_sees_the_first_change_where_river_does(seed):
    """River forgets everything at a change, and here what came before it alone, so later changes may differ."""
    ours, theirs = Adwin(), drift.ADWIN()
    for number, value in enumerate(stream(seed, (1500, 0.1), (1500, 0.25))):
        theirs.update(value)
        assert ours.update(value) == theirs.drift_detected, number
        if theirs.drift_detected:
            break
    assert 1500 < number < 2200


def test_adwin_forgets_what_came_before_a_change():
    values = stream(0, (3000, 0.1), (3000, 0.4))
    found = Adwin()
    place = last_change(values, found)
    assert place is not None
    assert 3000 < place < 3400
    assert 2800 <= found.count <= 3300
    assert found.mean == pytest.approx(0.4, abs=0.03)


def test_adwin_is_quiet_without_a_change():
    assert sum(last_change(stream(seed, (3000, 0.1)), Adwin()) is not None for seed in range(20)) <= 1
    assert Adwin().mean == 0.0


def test_adwin_counts_what_it_holds():
    found, values = Adwin(1e-9), stream(1, (777, 0.3))
    last_change(values, found)
    assert (found.count, found.total) == (777, sum(values))


@pytest.mark.parametrize("seed", range(4))
def test_page_hinkley_is_that_of_river(seed):
    ours, theirs = PageHinkley(10, 0.01), drift.PageHinkley(threshold=10, delta=0.01, alpha=1, mode="up")
    changes = 0
    for value in stream(seed, (1000, 0.1), (1000, 0.3), (1000, 0.1)):
        theirs.update(value)
        assert ours.update(value) == theirs.drift_detected
        changes += theirs.drift_detected
    assert changes


def test_page_hinkley_of_a_rate_has_about_the_wanted_number_of_false_alarms():
    changes = 0
    for seed in range(40):
        detector = PageHinkley.of_rate(0.1, 0.1, between=3000)
        changes += sum(detector.update(value) for value in stream(seed, (3000, 0.1)))
    assert 20 <= changes <= 60  # 40 are wanted
    assert last_change(stream(0, (500, 0.1), (500, 0.3)), PageHinkley.of_rate(0.1, 0.1)) is not None
