"""Corrections for many tests, beside that of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vertune.metrics.multiple import adjusted, discoveries


@pytest.mark.parametrize("count", [1, 2, 17, 300])
def test_adjusted_is_that_of_scipy(count):
    p = np.random.default_rng(count).random(count) ** 3
    assert adjusted(p) == pytest.approx(stats.false_discovery_control(p))


def test_few_false_discoveries_among_all():
    random = np.random.default_rng(0)
    false, found = 0, 0
    for _ in range(300):
        p = random.random(100)
        p[:10] = stats.norm.sf(random.normal(3.5, 1, 10))
        seen = discoveries(p, 0.1)
        false, found = false + int(seen[10:].sum()), found + int(seen.sum())
    assert 0.05 < false / found < 0.1


def test_no_tests():
    assert discoveries([], 0.05).tolist() == []
