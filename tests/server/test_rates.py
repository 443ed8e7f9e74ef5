"""Requests are counted in constant memory, and never more are allowed within any period than the limit says."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.server.rates import RateLimiter
from vertune.store.key import Rate, parse_rate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


STEPS = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.3), st.floats(0, 30), st.floats(50, 130)), min_size=1, max_size=400)


def run(rate: Rate, steps: list[float], repeats: int = 1):
    """The time and the result of each request, and the times of the allowed ones before it."""
    clock = Clock()
    limiter, allowed = RateLimiter(clock), []
    for step in steps:
        clock.now += step
        for _ in range(repeats):
            seconds = limiter.hit(rate, "a")
            yield clock.now, seconds, allowed
            if not seconds:
                allowed.append(clock.now)
    (window,) = limiter._windows.values()
    assert len(window.groups) <= 66


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([1, 3, 64]))
def test_up_to_64_requests_a_period_are_counted_as_a_list_of_all_times_would(steps, amount) -> None:
    rate = Rate(amount, 60)
    for now, seconds, allowed in run(rate, steps):
        counted = [one for one in allowed if one > now - 60]
        assert (seconds == 0) == (len(counted) < amount)
        if seconds:
            assert seconds == pytest.approx(counted[0] + 60 - now, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([65, 100, 1000]))
def test_more_requests_a_period_are_never_too_many_and_refused_for_little_longer(steps, amount) -> None:
    rate = Rate(amount, 60)
    for now, seconds, allowed in run(rate, steps, repeats=23):
        exact = sum(one > now - 60 for one in allowed)
        if seconds:
            assert sum(one > now - 60 * (1 + 1 / 64) for one in allowed) >= amount, "refused although there was room"
            assert 0 < seconds < 60.001
        else:
            assert exact < amount, "more than the limit within a period"


@settings(max_examples=30, deadline=None)
@given(STEPS, st.sampled_from([1, 3, 100]))
def test_after_the_seconds_of_a_refusal_the_next_request_is_allowed(steps, amount) -> None:
    clock, rate = Clock(), Rate(amount, 60)
    limiter = RateLimiter(clock)
    for step in steps:
        clock.now += step
        while not (seconds := limiter.hit(rate, "a")):
            pass
        clock.now += seconds + 1e-6
        assert not limiter.hit(rate, "a")


def test_each_client_and_each_rate_counts_by_itself() -> None:
    limiter, rate = RateLimiter(Clock()), Rate(1, 60)
    assert not limiter.hit(rate, "a")
    assert limiter.hit(rate, "a")
    assert not limiter.hit(rate, "b")
    assert not limiter.hit(Rate(2, 60), "a")


def test_a_million_a_day_take_no_more_memory_or_time_than_a_few() -> None:
    clock, rate = Clock(), parse_rate("1000000/day")
    limiter = RateLimiter(clock)
    tracemalloc.start()
    try:
        began = time.process_time()
        for _ in range(30_000):
            clock.now += 0.3
            assert not limiter.hit(rate, "a")
        spent = time.process_time() - began
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()
    assert spent / 30_000 < 0.0001


def test_clients_that_no_longer_ask_take_no_memory() -> None:
    clock, rate = Clock(), Rate(5, 1)
    limiter = RateLimiter(clock)
    for number in range(20_000):
        clock.now += 0.01
        limiter.hit(rate, str(number))
    assert len(limiter._windows) <= 1001


def test_a_clock_that_is_set_back_locks_nobody_out(monkeypatch) -> None:
    """By two hours after every look at it."""
    real, looks = time.time, iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: real() - 7200 * next(looks))
    limiter, rate = RateLimiter(), Rate(2, 0.05)
    for _ in range(3):
        assert [bool(limiter.hit(rate, "a")) for _ in range(3)] == [False, False, True]
        time.sleep(0.06)
