"""Differences of paired scores: intervals and tests that keep their level, also for few rows."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vertune.metrics import paired

NORMAL = NormalDist()


def counted(gains: int, losses: int, units: int) -> np.ndarray:
    return np.r_[np.ones(gains), -np.ones(losses), np.zeros(units - gains - losses)]


def test_without_a_margin_it_is_the_test_of_mcnemar():
    for gains, losses in ((3, 9), (10, 10), (0, 5), (40, 12)):
        expected = NORMAL.cdf((gains - losses) / math.sqrt(gains + losses))
        assert paired.p_worse(counted(gains, losses, 200), 0.0) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200), st.sampled_from([0.025, 0.005]))
def test_the_interval_has_the_differences_that_the_test_does_not_refuse(gains, losses, equal, side):
    values = counted(gains, losses, gains + losses + equal + 1)
    found = paired.interval(values, side)
    assert -1 <= found.low <= found.value <= found.high <= 1
    for sign, end in ((1, found.high), (-1, -found.low)):
        assert paired.p_worse(sign * values, -end - 1e-6) <= side + 1e-6
        assert paired.p_worse(sign * values, -end + 1e-3) >= side - 1e-6


def test_models_that_never_differ_still_have_an_interval():
    found = paired.interval(np.zeros(400), 0.025)
    assert found.value == 0
    assert found.high == pytest.approx(-found.low)
    assert 0.005 < found.high < 0.01


@pytest.mark.parametrize("units", [10, 25, 40])
@pytest.mark.parametrize("side", [0.025, 0.001])
def test_the_test_keeps_its_level_for_few_rows(units, side):
    """All outcomes are enumerated, for every share of gains: no exact level is much above the stated one."""
    margin = 0.03
    outcomes = [(gains, losses) for gains in range(units + 1) for losses in range(units + 1 - gains)]
    refused = np.array([paired.p_worse(counted(gains, losses, units), margin) <= side for gains, losses in outcomes])
    gains, losses = np.array(outcomes).T
    for share in np.linspace(0.0, 0.45, 12):
        chances = stats.multinomial(units, [share, share + margin, 1 - 2 * share - margin])
        level = chances.pmf(np.stack([gains, losses, units - gains - losses], axis=1))[refused].sum()
        assert level <= 1.3 * side


def test_other_scores_are_compared_as_scipy_does():
    values = np.random.default_rng(1).normal(-0.05, 0.3, 25)
    error = values.std(ddof=1) / 5
    found = paired.interval(values, 0.025)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 24, values.mean(), error), abs=1e-3)
    assert paired.p_worse(values, 0.03) == pytest.approx(stats.ttest_1samp(values, -0.03, alternative="less").pvalue, abs=1e-3)


def test_holm_corrects_as_in_its_definition():
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order_and_never_lowers_a_value(values):
    found = paired.holm(values)
    assert all(value <= corrected <= 1 for value, corrected in zip(values, found, strict=True))
    order = sorted(range(len(values)), key=lambda place: values[place])
    assert [found[place] for place in order] == sorted(found)
    assert min(found) == pytest.approx(min(1.0, len(values) * min(values)))


@pytest.mark.parametrize(("gains", "losses"), [(15, 15), (10, 18)])
def test_the_number_of_further_units_decides_with_the_stated_power(gains, losses):
    """A candidate as good as the live model, which differs on 6 % of the rows: whatever the first 500 rows show, four in five pass."""
    side, tolerance = 0.025, 0.01
    first = counted(gains, losses, 500)
    measured, error = float(first.mean()), paired.standard_error(first)
    further = math.ceil(paired.further_units(math.sqrt(0.06 / 500), 500, measured + tolerance, tolerance, side))
    draws = np.random.default_rng(0).multinomial(further, [0.03, 0.03, 0.94], 300)
    ends = [paired.interval(counted(gains + a, losses + b, 500 + further), side).low for a, b, _ in draws]
    assert abs(np.mean([low > -tolerance for low in ends]) - paired.POWER) < 0.07
    assert error == pytest.approx(math.sqrt(0.06 / 500), rel=0.1)
    assert paired.further_units(error, 500, 0.0, 0.0, side) == math.inf


def test_a_bad_start_and_a_larger_spread_need_more_units():
    def needed(measured=0.01, error=0.01):
        return paired.further_units(error, 500, measured, 0.01, 0.025)

    assert needed(measured=0.0) > needed() > needed(measured=0.02)
    assert needed(error=0.02) > 3 * needed()


def test_without_units_nothing_is_known():
    assert math.isnan(paired.interval(np.zeros(0), 0.025).value)
    assert paired.p_worse(np.zeros(0), 0.0) == 1.0
