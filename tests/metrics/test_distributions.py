"""Tails of distributions, beside those of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vertune.metrics import distributions


def test_normal_tails():
    for z in (-3.0, 0.0, 1.0, 4.5, 8.0):
        assert distributions.normal_tail(z) == pytest.approx(stats.norm.sf(z), rel=1e-12)
        assert distributions.two_sided(z) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)


def test_gamma_and_chi_square_tails():
    for freedom in (1, 2, 5, 30, 150):
        for value in (0.01, 1.0, freedom, 2.0 * freedom, 5.0 * freedom + 30):
            assert distributions.chi_square_tail(value, freedom) == pytest.approx(stats.chi2.sf(value, freedom), rel=1e-6, abs=1e-14)
    assert distributions.gamma_tail(2.5, 0.0) == 1.0
    assert distributions.chi_square_tail(3.0, 0) == 1.0


def test_kolmogorov_tail():
    for x in (0.1, 0.3, 0.8, 1.36, 2.5):
        assert distributions.kolmogorov_tail(x) == pytest.approx(stats.kstwobign.sf(x), rel=1e-6, abs=1e-12)


def test_pearson_tail_extrapolates_a_sample():
    sample = stats.chi2.rvs(3, size=20_000, random_state=0)
    for value in (2.0, 10.0, 25.0):
        assert distributions.pearson_tail(value, sample) == pytest.approx(stats.chi2.sf(value, 3), rel=0.4)
    assert distributions.pearson_tail(1.0, np.zeros(10)) == 0.0
    assert distributions.pearson_tail(0.0, np.zeros(10)) == 1.0
