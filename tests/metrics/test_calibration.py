from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from vertune.metrics.calibration import reliability


def test_points_equal_those_of_scikit_learn():
    random = np.random.default_rng(0)
    said = random.random(2000)
    right = random.random(2000) < said**2
    found = reliability(said, right)
    accuracy, confidence = calibration_curve(right, said, n_bins=10)
    assert [row["accuracy"] for row in found["bins"]] == pytest.approx(accuracy.tolist())
    assert [row["confidence"] for row in found["bins"]] == pytest.approx(confidence.tolist())
    weights = np.array([row["count"] for row in found["bins"]]) / 2000
    assert found["ece"] == pytest.approx(float(weights @ np.abs(accuracy - confidence)))


def test_a_model_that_is_always_sure_is_off_by_its_errors():
    found = reliability([1.0] * 10, [1] * 7 + [0] * 3)
    assert found["ece"] == pytest.approx(0.3)
    assert [(row["low"], row["high"], row["count"]) for row in found["bins"]] == [(0.9, 1.0, 10)]


@pytest.mark.parametrize("edge", [0.0, 0.1, 0.5, 1.0])
def test_an_edge_belongs_to_the_bin_below(edge):
    (row,) = reliability([edge], [1])["bins"]
    assert row["low"] <= edge <= row["high"]
    assert edge == 0 or row["high"] == pytest.approx(edge)


def test_no_answers_are_no_error():
    assert reliability([], []) == {"ece": 0.0, "bins": []}
