"""Tests of two samples, beside those of scipy and scikit-learn, and on samples of one distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from vertune.metrics import drift


@pytest.mark.parametrize(("hits", "counts"), [((3, 40), (200, 1000)), ((0, 0), (50, 60)), ((20, 1), (30, 400)), ((50, 60), (50, 60))])
def test_fisher_is_that_of_scipy(hits, counts):
    table = [list(hits), [counts[0] - hits[0], counts[1] - hits[1]]]
    assert drift.fisher(hits, counts) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-6)


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (3, 200), (200, 200), (77, 150)])
def test_interval_of_a_share_is_that_of_scipy(hits, count):
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert drift.share_interval(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("hits", "count", "share"), [(0, 10, 0.1), (30, 200, 0.1), (200, 200, 0.9), (5, 10, 0.0), (5, 10, 1.0)])
def test_binomial_tail_is_that_of_scipy(hits, count, share):
    assert drift.binomial_tail(hits, count, share) == pytest.approx(stats.binom.sf(hits - 1, count, share), rel=1e-9)


def test_chi_square_is_that_of_scipy_where_nothing_is_rare():
    one, other = np.array([200.0, 300, 80, 40]), np.array([90.0, 170, 60, 10])
    found, expected = drift.chi_square(one, other), stats.chi2_contingency([one, other], correction=False)
    assert (found.size, found.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


def test_rare_categories_are_one():
    merged = drift.merge_rare(np.array([500.0, 2, 1, 3, 0]), np.array([480.0, 1, 2, 0, 0]))
    assert merged.tolist() == [[500, 6], [480, 3]]
    assert drift.chi_square(np.array([5.0, 0]), np.array([9.0, 0])).p == 1.0


def test_stability_index_of_shares():
    one, other = np.array([500.0, 500]) - 0.5, np.array([250.0, 750]) - 0.5
    assert drift.stability_index(one, other) == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5))


def test_expected_index_is_the_mean_of_chance():
    random, shares = np.random.default_rng(0), np.random.default_rng(1).dirichlet(np.ones(40))
    pairs = [(random.multinomial(1000, shares), random.multinomial(500, shares)) for _ in range(300)]
    mean = np.mean([drift.stability_index(one, other) for one, other in pairs])
    assert np.mean([drift.expected_index(one, other) for one, other in pairs[:20]]) == pytest.approx(mean, rel=0.15)
    low, high = drift.index_interval(*pairs[0])
    assert 0 <= low <= high < 0.2


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_kolmogorov_smirnov_is_that_of_scipy(shift):
    random = np.random.default_rng(1)
    one, other = random.normal(size=800), random.normal(shift, 1, 500)
    found, expected = drift.kolmogorov_smirnov(one, other), stats.ks_2samp(one, other, method="asymp")
    assert found.size == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, rel=0.1)
    assert drift.kolmogorov_smirnov(one[:0], other).p == 1.0


def test_mean_difference_is_that_of_welch():
    random = np.random.default_rng(0)
    one, other = random.normal(size=600), random.normal(0.2, 2, 400)
    found, error = drift.mean_difference(one, other)
    assert found.p == pytest.approx(stats.ttest_ind(other, one, equal_var=False).pvalue, rel=0.05)
    assert error == pytest.approx(abs(found.size) / abs(stats.ttest_ind(other, one, equal_var=False).statistic))


def test_area_and_ranks_are_those_of_the_libraries():
    random = np.random.default_rng(0)
    one, other = random.integers(0, 20, 300).astype(float), random.integers(3, 23, 200).astype(float)
    both = np.concatenate([one, other])
    assert drift.midranks(both) == pytest.approx(stats.rankdata(both))
    area = drift.area_under_curve(one, other)
    assert area == pytest.approx(roc_auc_score(np.arange(500) >= 300, both))
    low, high = drift.area_interval(one, other)
    assert low < area < high
    assert high - low == pytest.approx(4 * np.sqrt((1 / 300 + 1 / 200) / 12), rel=0.2)  # about four standard errors


def test_mean_discrepancy_sees_a_shift_and_is_calibrated():
    random = np.random.default_rng(0)
    p = [drift.mean_discrepancy(random.normal(size=(60, 8)), random.normal(size=(40, 8))).p for _ in range(120)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    found = drift.mean_discrepancy(random.normal(size=(300, 8)), random.normal(0.4, 1, (200, 8)))
    assert found.size > 0.005
    assert found.p < 1e-6


def test_linear_separation_is_calibrated_and_explains_a_shift():
    random, is_window = np.random.default_rng(0), np.arange(90) >= 60
    p = [drift.linear_separation(random.normal(size=(90, 20)), is_window, 1.0).p for _ in range(150)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    shifted = random.normal(size=(90, 200))
    shifted[60:, :20] += 0.8
    found = drift.linear_separation(shifted, is_window, 100.0)
    assert found.p < 1e-6
    assert 0.05 < found.size < 1


def test_linear_separation_is_that_of_a_ridge_regression():
    from sklearn.linear_model import Ridge

    random, is_window = np.random.default_rng(0), np.arange(90) >= 60
    vectors = random.normal(size=(90, 5))
    fitted = Ridge(alpha=7.0).fit(vectors, is_window)
    member = is_window - is_window.mean()
    explained = float((fitted.predict(vectors) - is_window.mean()) @ member / (member @ member))
    permuted = [random.permutation(member) for _ in range(2000)]
    mean = np.mean([(Ridge(alpha=7.0).fit(vectors, one).predict(vectors)) @ one / (one @ one) for one in permuted[:200]])
    assert drift.linear_separation(vectors, is_window, 7.0).size == pytest.approx(explained - mean, abs=0.01)
