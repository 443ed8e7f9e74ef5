"""Learning curves: known curves are recovered, intervals contain the truth, and hopeless targets are named as such."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from vertune.metrics.learning_curve import Point, fit, is_stable, stability

COUNTS = [20, 30, 40, 60, 80, 120, 160, 240, 320]


def power(labels, asymptote=0.9, scale=1.5, exponent=0.5):
    return asymptote - scale * np.asarray(labels, float) ** -exponent


def points(counts=COUNTS, records=2000, random=None, **curve):
    scores = np.clip(power(counts, **curve), 0, 1)
    if random is not None:
        scores = random.binomial(records, scores) / records
    return [Point.of_share(count, float(score), records) for count, score in zip(counts, scores, strict=True)]


@pytest.mark.parametrize(
    "curve", [{}, {"asymptote": 0.95, "scale": 3, "exponent": 0.8}, {"asymptote": 0.85, "scale": 1.2, "exponent": 0.4}]
)
@pytest.mark.parametrize("times", [1.5, 2, 3])
def test_a_known_curve_is_continued(curve, times):
    target = float(power(320 * times, **curve))
    found = fit(points(records=20_000, **curve)).needed(target)
    assert 1 / 1.6 < found.labels / (320 * times) < 1.6
    assert found.low <= 320 * times <= (found.high or math.inf)


def test_noisy_curves_are_continued_within_a_factor_of_two_and_their_intervals_contain_the_truth():
    right, inside, rounds = 0, 0, 60
    for seed in range(rounds):
        random = np.random.default_rng(seed)
        curve = {"asymptote": random.uniform(0.8, 0.97), "scale": random.uniform(1.2, 2.5), "exponent": random.uniform(0.4, 0.8)}
        truth = random.uniform(1.3, 4) * 320
        found = fit(points(random=random, records=1000, **curve)).needed(float(power(truth, **curve)))
        right += found is not None and 0.5 <= found.labels / truth <= 2
        inside += found is not None and found.low <= truth <= (found.high or math.inf)
    assert right >= 0.75 * rounds
    assert inside >= 0.9 * rounds


def test_the_worth_of_the_next_labels_is_recovered():
    curve = fit(points(records=20_000))
    for further in (50, 320, 1000):
        gain = curve.gain(further)
        truth = float(power(320 + further) - power(320))
        assert gain.low <= truth <= gain.high
        assert gain.value == pytest.approx(truth, rel=0.35)
    assert curve.gain(0).value == 0
    now = curve.score(320)
    assert now.value == pytest.approx(float(power(320)), abs=0.01)
    assert now.low <= now.value <= now.high


def test_more_labels_are_never_worth_less_and_higher_scores_never_need_fewer():
    curve = fit(points(random=np.random.default_rng(0)))
    scores = [curve.score(labels).value for labels in range(20, 3000, 100)]
    assert scores == sorted(scores)
    needed = [found.labels for target in np.arange(0.5, 0.9, 0.01) if (found := curve.needed(float(target)))]
    assert needed == sorted(needed)
    assert len(needed) > 30


def test_a_score_that_was_passed_already_needs_fewer_labels():
    assert fit(points()).needed(float(power(100))).labels < 200


def test_what_is_not_within_reach_is_not_promised():
    flat = [Point.of_share(count, 0.8, 5000) for count in COUNTS]
    assert fit(flat).needed(0.95) is None
    assert fit(points(records=20_000)).needed(0.99) is None
    assert fit(points()).needed(1.5) is None


def test_no_curve_without_three_numbers_of_labels():
    assert fit([]) is None
    assert fit(points([50, 100])) is None
    assert fit(points([50, 100]) * 5) is None
    assert fit([*points([50, 100]), Point(0, 0.1, 0.01), Point(200, math.nan, 0.01)]) is None
    assert fit(points([50, 100, 150])) is not None


def test_errors_are_curves_towards_zero():
    """An RMSE falls as 0.2 + 4/√m; the mean of all scores has an error of 1.2."""
    rows = [Point(count, -(0.2 + 4 * count**-0.5), 0.002) for count in COUNTS]
    found = fit(rows, (-1.2, 0.0)).needed(-(0.2 + 4 * 800**-0.5))
    assert found.labels == pytest.approx(800, rel=0.35)


def test_limits_scale_scores():
    one, other = fit(points()), fit([Point(p.labels, 100 * p.score, 100 * p.error) for p in points()], (0, 100))
    assert other.needed(85).labels == one.needed(0.85).labels
    assert other.gain(100).value == pytest.approx(100 * one.gain(100).value)


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 1)), max_size=12), st.floats(0.01, 1), st.randoms())
@settings(max_examples=80, deadline=None)
def test_any_scores_give_finite_estimates_whatever_their_order(rows, target, random):
    made = [Point.of_share(labels, score, 100) for labels, score in rows]
    curve, other = fit(made), fit(random.sample(made, len(made)))
    assert (curve is None) == (len({point.labels for point in made}) < 3)
    if curve is None:
        return
    one, again = curve.needed(target), other.needed(target)
    assert (one is None) == (again is None)
    if one is not None:
        assert 0 < one.low <= one.labels
        assert one.high is None or one.high >= one.labels
        assert again.labels == pytest.approx(one.labels, rel=0.05, abs=1)
    gain = curve.gain(100)
    assert 0 <= gain.low <= gain.value <= gain.high <= 1
    assert all(map(math.isfinite, (curve.score(10).low, curve.score(10**6).high)))


def test_the_error_of_a_share_is_never_zero():
    assert Point.of_share(10, 0.5, 100).error == pytest.approx(0.05)
    assert 0 < Point.of_share(10, 1.0, 100).error < 0.02
    assert Point.of_share(10, 0.0, 100).error == pytest.approx(Point.of_share(10, 1.0, 100).error)


def test_the_error_of_an_interval_is_a_quarter_of_its_width():
    assert Point.of_interval(10, 0.8, 0.7, 0.9).error == pytest.approx(0.2 / 4, rel=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_stability_equals_kappa_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    one = random.integers(0, 4, 200)
    other = np.where(random.random(200) < 0.9, one, random.integers(0, 4, 200))
    found = stability(one.tolist(), other.tolist())
    assert found.kappa == pytest.approx(cohen_kappa_score(one, other))
    assert found.changed == pytest.approx(np.mean(one != other))


def test_stability_at_the_edges():
    assert stability(["x", "x"], ["x", "x"]).kappa == 1
    assert stability(["x", "x"], ["x", "y"]).kappa == 0
    assert stability([("x", "y")], [("x",)]).changed == 1
    with pytest.raises(ValueError, match="0 predictions"):
        stability([], [])
    with pytest.raises(ValueError, match="zip"):
        stability(["x"], ["x", "y"])


def test_labelling_stops_when_three_agreements_are_high():
    assert not is_stable([])
    assert not is_stable([1.0, 1.0])
    assert is_stable([0.5, 0.99, 0.99, 1.0])
    assert not is_stable([1.0, 1.0, 1.0, 0.9])
