from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as oracle

from vertune.metrics import regression


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_scipy_and_scikit_learn(seed):
    random = np.random.default_rng(seed)
    truth = random.normal(3, 2, 50)
    guess = truth * 0.5 + random.normal(size=50)
    found = regression.summarise(regression.tally(truth, guess, 3.0).sum(0))
    assert found["pearson"] == pytest.approx(stats.pearsonr(truth, guess).statistic)
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth, guess))
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(truth, guess))
    assert found["r2"] == pytest.approx(oracle.r2_score(truth, guess))


def test_ranks_and_their_correlation_with_ties():
    random = np.random.default_rng(0)
    truth, guess = random.integers(5, size=80).astype(float), random.integers(7, size=80).astype(float)
    assert regression.ranks(truth).tolist() == stats.rankdata(truth).tolist()
    assert regression.spearman(truth, guess) == pytest.approx(stats.spearmanr(truth, guess).statistic)


def test_large_values_lose_no_digits_around_their_centre():
    random = np.random.default_rng(0)
    small, noise = random.normal(size=100), random.normal(size=100)
    truth, guess = 1e9 + small, 1e9 + small + noise
    found = regression.summarise(regression.tally(truth, guess, 1e9).sum(0))
    assert found["pearson"] == pytest.approx(stats.pearsonr(small, small + noise).statistic, rel=1e-5)


def test_what_does_not_vary_has_no_correlation():
    constant = regression.tally(np.array([1.0, 2.0, 3.0]), np.full(3, 0.1), 0.0).sum(0)
    assert regression.summarise(constant)["pearson"] == 0
    same = regression.tally(np.full(3, 0.1), np.array([1.0, 2.0, 3.0]), 0.0).sum(0)
    assert regression.summarise(same)["r2"] == 0
    assert [float(value) for value in regression.summarise(np.zeros(8)).values()] == [0, 0, 0, 0]
