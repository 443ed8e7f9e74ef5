from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from vertune.metrics import bootstrap
from vertune.metrics.bootstrap import Tallies, equivalence, intervals, paired


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


def test_the_rounds_equal_resampling_the_rows_one_round_at_a_time(answers):
    truth, good, _ = answers
    rounds, seed = 200, 3
    slow = {"accuracy": [], "f1": []}
    for stream in np.random.SeedSequence(seed).spawn(rounds):
        rows = np.random.default_rng(stream).integers(0, len(truth), len(truth))
        slow["accuracy"].append(accuracy_score(truth[rows], good[rows]))
        slow["f1"].append(f1_score(truth[rows], good[rows]))
    units = binary(truth, good)
    fast = bootstrap._concatenate([scores(weights @ units) for weights in bootstrap._weights(units, rounds, seed)])
    for name, values in slow.items():
        assert fast[name] == pytest.approx(values)
        low, high = np.quantile(values, [0.025, 0.975])
        found = intervals(units, scores, rounds, seed)[name]
        assert found.low <= low < high <= found.high  # corrections only widen
        assert found.high - found.low < 1.2 * (high - low)


def test_agrees_with_scipy_on_a_mean():
    values = np.random.default_rng(0).gamma(2.0, size=400)
    ours = intervals(np.stack([values, np.ones(400)], axis=1), mean, 10_000, seed=1)["mean"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    half = 0.5 * (values.max() - values.mean()) / 399  # of the largest change that one unit makes
    assert ours.low == pytest.approx(theirs.low - half, abs=0.01)
    assert ours.high == pytest.approx(theirs.high + half, abs=0.01)


def test_student_s_quantiles_agree_with_scipy():
    for freedom in (5, 10, 50, 500):
        assert bootstrap._student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-2)


def recalls(classes):
    """Tally (right, count) of each class, whose mean recall over the classes that occur is the metric."""

    def summarise(total):
        right, rows = total[..., :classes], total[..., classes:]
        each = np.divide(right, rows, out=np.zeros(right.shape), where=rows > 0)
        return {"recall": each.sum(-1) / np.maximum(1, (rows > 0).sum(-1))}

    return summarise


@pytest.mark.parametrize("classes", [5, 40])
def test_a_mean_over_many_classes_holds_the_truth_as_often_as_over_few(classes):
    random, rows = np.random.default_rng(1), 120
    recall = np.linspace(0.6, 1.0, classes)
    held = 0
    for seed in range(100):
        label = random.integers(0, classes, rows)
        tally = np.zeros((rows, 2 * classes))
        tally[np.arange(rows), label] = random.random(rows) < recall[label]
        tally[np.arange(rows), classes + label] = 1
        found = intervals(tally, recalls(classes), 200, seed)["recall"]
        held += found.low <= recall.mean() <= found.high
    assert held >= 90


def test_units_with_equal_inputs_are_one_unit():
    records = [{"text": "a", "n": 1}, {"text": "b", "n": 2}, {"text": "a", "n": 3}]
    tally = np.array([[1.0, 1], [0, 1], [1, 1]])
    assert bootstrap.units(tally, records, ["text"]).tolist() == [[2, 2], [0, 1]]
    assert bootstrap.units(tally, records, ["text", "n"]).tolist() == tally.tolist()
    assert bootstrap.units(tally[:2], records, ["text"]).tolist() == tally[:2].tolist()  # one row a query


def test_values_stay_within_the_limits():
    values = np.array([1.0] * 19 + [0.0])
    found = intervals(np.stack([values, np.ones(20)], axis=1), mean, 200, limits=lambda name: (0.0, 1.0))["mean"]
    assert 0 <= found.low < 0.95 < found.high <= 1


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
    found = intervals(tally, mean, 50, seed, lambda name: (values.min(), values.max()))["mean"]
    assert found == intervals(tally, mean, 50, seed, lambda name: (values.min(), values.max()))["mean"]
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


@pytest.mark.parametrize("share", [0.004, 0.01, 0.02])
def test_rare_differences_are_not_taken_for_none(share):
    """One model is right on 90 % of the rows, the other is wrong on a small share of these too: often, none of them is drawn."""
    random, rows, inside = np.random.default_rng(4), 150, 0
    for seed in range(200):
        right = random.random(rows) < 0.9
        lost = right & (random.random(rows) < share / 0.9)
        tallies = [Tallies(np.stack([good, np.ones(rows)], axis=1), mean) for good in (right, right & ~lost)]
        found = equivalence(*tallies, rounds=100, seed=seed)["mean"]
        inside += found.low <= share <= found.high
    assert inside >= 0.93 * 200


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_never_happened_may_happen(value):
    rows = np.stack([np.full(100, value), np.ones(100)], axis=1)
    found = intervals(rows, mean, 50, limits=lambda name: (0.0, 1.0))["mean"]
    exact = stats.binomtest(int(100 * value), 100).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert intervals(rows, mean, 50)["mean"].low == value  # a metric without limits says nothing of it


def test_a_difference_that_is_not_smooth_has_the_spread_of_new_samples():
    """The calibration error of two models on 400 rows, drawn again and again."""
    from vertune.metrics.bootstrap import Tallies, paired_normal

    def gaps(random):
        confidence = random.choice([0.55, 0.75, 0.95], 400)
        tallies = []
        for _ in range(2):
            tally = np.zeros((400, 3))
            tally[np.arange(400), (confidence * 5).astype(int) - 2] = confidence - (random.random(400) < confidence)
            tallies.append(Tallies(tally, lambda total: {"ece": np.abs(total).sum(-1) / 400}))
        return tallies

    samples = [gaps(np.random.default_rng(seed)) for seed in range(40)]
    spread = np.std([paired_normal(*pair, rounds=2)["ece"].value for pair in samples])
    found = [paired_normal(*pair, rounds=100)["ece"] for pair in samples[:8]]
    assert np.mean([one.high - one.low for one in found]) / 3.92 == pytest.approx(spread, rel=0.4)
