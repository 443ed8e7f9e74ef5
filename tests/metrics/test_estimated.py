"""Accuracy that is estimated from confidences, beside scikit-learn's calibration and the truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vertune.metrics.estimated import Calibration, estimate


def answers(count: int, seed: int, harder: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of an overconfident model, and whether its answers are right."""
    random = np.random.default_rng(seed)
    odds = random.normal(2.5 - harder, 1.5, count)
    right = (random.random(count) < 1 / (1 + np.exp(-odds))).astype(float)
    return 1 / (1 + np.exp(-1.6 * odds - 0.3)), right


def test_curve_is_that_of_a_logistic_regression():
    sure, right = answers(3000, 0)
    odds = np.log(sure / (1 - sure))
    expected = LogisticRegression(C=1e6).fit(odds[:, None], right)
    found = Calibration.fit(sure, right)
    assert (found.slope, found.offset) == (pytest.approx(expected.coef_[0, 0], abs=0.02), pytest.approx(expected.intercept_[0], abs=0.02))
    assert found.slope == pytest.approx(1 / 1.6, abs=0.08)


def test_estimate_is_near_the_truth_where_inputs_are_harder():
    calibration = Calibration.fit(*answers(1500, 0))
    inside = 0
    for seed in range(1, 41):
        sure, right = answers(500, seed, harder=1.5)
        found = estimate(calibration, answers(1500, 0)[0], sure)
        assert abs(found.accuracy - right.mean()) < 0.08
        inside += found.low <= right.mean() <= found.high
    assert inside >= 35
    assert found.p < 1e-6
    assert found.before == pytest.approx(answers(1500, 0)[1].mean(), abs=0.01)


def test_estimate_of_the_same_inputs_is_no_change():
    calibration = Calibration.fit(*answers(1500, 0))
    p = [estimate(calibration, answers(1500, 0)[0], answers(500, seed)[0]).p for seed in range(50)]
    assert sum(one < 0.05 for one in p) <= 8


def test_few_and_perfect_answers_are_no_error():
    found = Calibration.fit(np.array([1.0, 1.0, 0.99]), np.ones(3))
    assert found.of(np.array([1.0]))[0] > 0.99
    assert np.isfinite(found.covariance).all()
