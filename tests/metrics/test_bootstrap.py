from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from vertune.metrics import bootstrap
from vertune.metrics.bootstrap import Tallies, intervals, paired


def mean(total):
    """Tally (sum, count)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"mean": total[..., 0] / total[..., 1]}


def scores(total):
    """Tally (right, true positive, answered positive, truly positive, count)."""
    right, hit, said, true, rows = np.moveaxis(total, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"accuracy": right / rows, "f1": 2 * hit / (said + true)}


def binary(truth, answer):
    return np.stack([truth == answer, truth & answer, answer, truth, np.ones_like(truth)], axis=1).astype(float)


@pytest.fixture
def answers():
    random = np.random.default_rng(5)
    truth = random.random(300) < 0.4
    good = np.where(random.random(300) < 0.9, truth, ~truth)
    poor = np.where(random.random(300) < 0.7, truth, ~truth)
    return truth, good, poor


def test_equals_resampling_the_rows_one_round_at_a_time(answers):
    truth, good, _ = answers
    rounds, seed = 200, 3
    slow = {"accuracy": [], "f1": []}
    for stream in np.random.SeedSequence(seed).spawn(rounds):
        rows = np.random.default_rng(stream).integers(0, len(truth), len(truth))
        slow["accuracy"].append(accuracy_score(truth[rows], good[rows]))
        slow["f1"].append(f1_score(truth[rows], good[rows]))
    fast = intervals(binary(truth, good), scores, rounds, seed)
    for name, values in slow.items():
        assert (fast[name].low, fast[name].high) == pytest.approx(np.quantile(values, [0.025, 0.975]))
    assert fast["accuracy"].value == pytest.approx(accuracy_score(truth, good))


def test_agrees_with_scipy_on_a_mean():
    values = np.random.default_rng(0).gamma(2.0, size=400)
    ours = intervals(np.stack([values, np.ones(400)], axis=1), mean, 10_000, seed=1)["mean"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


def test_holds_the_truth_about_95_times_in_100():
    random = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        values = (random.random(200) < 0.8).astype(float)
        found = intervals(np.stack([values, np.ones(200)], axis=1), mean, 200, seed)["mean"]
        held += found.low <= 0.8 <= found.high
    assert 178 <= held <= 200


def test_a_pair_draws_the_same_units_for_both(answers):
    truth, good, poor = answers
    a, b = binary(truth, good), binary(truth, poor)
    assert paired(Tallies(a, scores), Tallies(a, scores))["accuracy"] == bootstrap.Interval(0.0, 0.0, 0.0)
    difference = paired(Tallies(a, scores), Tallies(b, scores))["accuracy"]
    assert difference.excludes_zero
    assert difference.value == pytest.approx(accuracy_score(truth, good) - accuracy_score(truth, poor))
    rows = (truth == good).astype(float) - (truth == poor)
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * rows.std() / np.sqrt(len(rows)), rel=0.15)


def test_a_pair_may_count_in_different_tallies(answers):
    truth, good, poor = answers
    b = binary(truth, poor)
    short = np.stack([truth == good, np.ones(len(truth))], axis=1)
    found = paired(Tallies(short, lambda total: {"accuracy": mean(total)["mean"]}), Tallies(b, scores))
    assert set(found) == {"accuracy"}
    assert found["accuracy"] == paired(Tallies(binary(truth, good), scores), Tallies(b, scores))["accuracy"]


def test_a_pair_of_other_lengths_is_refused(answers):
    tally = binary(answers[0], answers[1])
    with pytest.raises(ValueError, match="300 and 299"):
        paired(Tallies(tally, scores), Tallies(tally[1:], scores))


@settings(max_examples=30, deadline=None)
@given(arrays(float, st.integers(1, 40), elements=st.floats(-5, 5)), st.integers(0, 99))
def test_is_deterministic_ordered_and_inside_the_data(values, seed):
    tally = np.stack([values, np.ones(len(values))], axis=1)
    found = intervals(tally, mean, 50, seed)["mean"]
    assert found == intervals(tally, mean, 50, seed)["mean"]
    assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9


def test_chunks_do_not_change_what_is_drawn(answers, monkeypatch):
    tally = binary(answers[0], answers[1])
    whole = intervals(tally, scores, 100)
    monkeypatch.setattr(bootstrap, "_CELLS", 1000)
    pieces = intervals(tally, scores, 100)
    assert pieces["f1"].low == pytest.approx(whole["f1"].low)
    assert intervals(tally, scores, 100, seed=1) != pieces


def test_a_metric_that_can_not_be_computed_has_no_interval():
    found = intervals(np.zeros((5, 2)), mean)["mean"]
    assert np.isnan([found.value, found.low, found.high]).all()
    assert not found.excludes_zero
