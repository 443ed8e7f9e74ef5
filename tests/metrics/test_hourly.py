"""How many requests are usual in each hour of the week or of the day."""

import numpy as np
import pytest

from vertune.metrics.hourly import HOUR, HourlyRates

MONDAY = 1_893_974_400.0
"""2030-01-07 00:00 in UTC, a Monday."""


def hours(days, draw=None):
    """Hours of which those from eight to six o'clock of five days of the week have 20 requests."""
    usual = [20 if hour // 24 % 7 < 5 and 8 <= hour % 24 < 18 else 0 for hour in range(24 * days)]
    return [(MONDAY + HOUR * hour, int(draw(count)) if draw else count) for hour, count in enumerate(usual)]


def test_a_weekend_is_as_usual_once_the_days_of_the_week_are_known():
    by_day, by_week = HourlyRates.of(hours(12)), HourlyRates.of(hours(14))
    saturday = MONDAY + 24 * HOUR * 26
    assert (by_day.is_weekly, by_week.is_weekly) == (False, True)
    assert by_week.between(saturday, saturday + 48 * HOUR) == 0
    assert by_day.between(saturday, saturday + 48 * HOUR) == pytest.approx(400 * 10 / 12)
    assert by_week.between(saturday - 24 * HOUR, saturday) == 200
    assert by_week.between(MONDAY + 8.5 * HOUR, MONDAY + 10 * HOUR) == pytest.approx(30)


def test_the_time_in_which_so_many_are_usual_reaches_back_over_nights_and_weekends():
    rates = HourlyRates.of(hours(14))
    monday = MONDAY + 7 * 24 * HOUR
    begin = rates.before(monday + 9 * HOUR, 50, 30 * 24 * HOUR)
    assert begin == monday - 56 * HOUR  # 20 of Monday morning, and 40 of the last two hours of Friday
    assert rates.between(begin, monday + 9 * HOUR) >= 50
    assert rates.before(monday, 50, 24 * HOUR) is None
    assert HourlyRates.of([(MONDAY, 0)] * 8).before(monday, 50, 24 * HOUR) is None


def test_bursts_make_it_less_certain():
    random = np.random.default_rng(0)
    even = HourlyRates.of(hours(28, random.poisson))
    bursts = HourlyRates.of(hours(28, lambda count: 4 * random.poisson(count / 4)))
    assert even.factor < 1.5
    assert 3 < bursts.factor * 168 / 50 < 5 or 3 < bursts.factor < 5
    assert bursts.spread(100) > even.spread(100)
    assert even.spread(100) > even.spread(400)


def test_few_hours_have_one_rate():
    rates = HourlyRates.of([(MONDAY + HOUR * hour, 10) for hour in range(10)])
    assert len(rates.rates) == 1
    assert rates.between(MONDAY, MONDAY + 2.5 * HOUR) == 25
