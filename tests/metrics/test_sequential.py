"""Bounds that hold at every moment: they contain the truth, shrink, and raise no alarm by being looked at often."""

import math
import random

import pytest

from vertune.metrics.sequential import bounds, is_higher, is_higher_without_any


def test_nothing_is_known_of_nothing():
    assert bounds(0, 0, 0.05) == (0.0, 1.0)


@pytest.mark.parametrize("trials", [1, 7, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 1.0])
def test_bounds_are_where_the_mixture_is_too_unlikely(share, trials):
    """By the definition: at a bound the ratio of likelihoods is 1/alpha."""
    successes = round(share * trials)
    low, high = bounds(successes, trials, 0.05)
    assert 0 <= low <= successes / trials <= high <= 1
    mixture = math.lgamma(successes + 1) + math.lgamma(trials - successes + 1) - math.lgamma(trials + 2)
    for bound, is_open in ((low, successes == 0), (high, successes == trials)):
        if not is_open:
            likelihood = (successes * math.log(bound) if successes else 0.0) + (
                (trials - successes) * math.log1p(-bound) if trials > successes else 0.0
            )
            assert mixture - likelihood == pytest.approx(math.log(20), abs=1e-3)


def test_bounds_are_symmetric_and_shrink():
    for successes, trials in ((3, 10), (30, 100), (300, 1000)):
        low, high = bounds(successes, trials, 0.05)
        other = bounds(trials - successes, trials, 0.05)
        assert (1 - high, 1 - low) == pytest.approx(other)
    widths = [high - low for low, high in (bounds(3 * n, 10 * n, 0.05) for n in (1, 10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)


def test_equal_rates_seldom_differ_however_often_one_looks():
    draw, alarms = random.Random(0), 0
    for _ in range(200):
        one, other = [0, 0], [0, 0]
        for step in range(1500):
            for counts in (one, other):
                counts[0] += draw.random() < 0.1
                counts[1] += 1
            if step % 10 == 0 and is_higher(tuple(one), tuple(other), 0.05):
                alarms += 1
                break
    assert alarms <= 10  # 5 %


def test_a_difference_is_found():
    assert is_higher((200, 1000), (100, 1000), 0.05)
    assert not is_higher((200, 1000), (100, 1000), 0.05, margin=0.2)
    assert not is_higher((100, 1000), (200, 1000), 0.05)
    assert not is_higher((2, 10), (0, 0), 0.05)


def test_no_part_alone_makes_a_rate_higher():
    bad, good, usual = ((60, 60), (0, 60)), ((0, 60), (0, 60)), ((1, 60), (1, 60))
    assert not is_higher_without_any([], 0.05)
    assert not is_higher_without_any([bad], 0.05)
    assert not is_higher_without_any([bad, *[usual] * 9], 0.05)
    assert is_higher_without_any([bad, bad], 0.05)
    assert not is_higher_without_any([bad, bad, *[good] * 30], 0.05, margin=0.25)
    assert not is_higher_without_any([((30, 60), (0, 60)), ((1, 3), (0, 60))], 0.05), "one complaint of another is no proof"
