"""Attempts to guess passwords: free at first, then slower and slower, in bounded memory, and never without an end."""

from __future__ import annotations

import pytest

from vertune.core.errors import Busy
from vertune.server import attempts as module
from vertune.server.attempts import OF_ADDRESS, OF_NAME, Attempts


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(clock) -> Attempts:
    return Attempts(clock)


def wait(attempts, name="ann", address="1.2.3.4") -> float:
    """Try with a wrong password; the seconds that an attempt must wait, 0 if it was counted."""
    try:
        attempts.begin(name, address)
    except Busy as error:
        return error.retry_after
    return 0.0


def test_the_time_between_attempts_doubles_up_to_a_bound(attempts, clock) -> None:
    assert [wait(attempts) for _ in range(5)] == [0.0] * 5
    seconds = []
    for _ in range(12):
        seconds.append(wait(attempts))
        clock.now += seconds[-1]
        assert wait(attempts) == 0.0
    assert seconds[:5] == pytest.approx([1, 2, 4, 8, 16], rel=0.1)
    assert max(seconds) <= OF_NAME.longest


def test_a_refused_attempt_does_not_make_it_longer(attempts, clock) -> None:
    for _ in range(5):
        wait(attempts)
    with pytest.raises(Busy, match="Too many attempts") as refused:
        attempts.begin("ann", "1.2.3.4")
    assert refused.value.http_status == 429
    first = wait(attempts)
    assert [wait(attempts) for _ in range(20)] == [first] * 20
    clock.now += first
    assert wait(attempts) == 0.0


def test_wrong_attempts_are_forgotten(attempts, clock) -> None:
    for _ in range(5):
        wait(attempts)
    assert wait(attempts) > 0
    clock.now += 5 * OF_NAME.forgiven
    assert [wait(attempts) for _ in range(5)] == [0.0] * 5


def test_the_right_password_forgets_those_of_the_name(attempts) -> None:
    for _ in range(4):
        wait(attempts)
    attempts.begin("ann", "1.2.3.4")
    attempts.succeed("ann", "1.2.3.4")
    assert [wait(attempts, address="5.6.7.8") for _ in range(5)] == [0.0] * 5


def test_guessing_one_name_from_many_addresses_is_slowed_down(attempts) -> None:
    assert [wait(attempts, address=f"1.1.1.{place}") for place in range(5)] == [0.0] * 5
    assert wait(attempts, address="1.1.1.9") > 0


def test_the_rightful_user_does_not_wait_for_others(attempts, clock) -> None:
    attempts.begin("ann", "home")
    attempts.succeed("ann", "home")
    for place in range(100):
        wait(attempts, address=f"1.1.1.{place}")
    assert wait(attempts, address="1.1.2.1") > 0
    assert wait(attempts, address="home") == 0.0
    for _ in range(100):
        wait(attempts, address="home")
    assert wait(attempts, address="home") > 0, "there, the address alone is slowed down"


def test_guessing_many_names_from_one_address_is_slowed_down(attempts) -> None:
    assert [wait(attempts, name=f"name {place}") for place in range(OF_ADDRESS.free)] == [0.0] * OF_ADDRESS.free
    assert wait(attempts, name="another") > 0
    assert wait(attempts, name="another", address="5.6.7.8") == 0.0


def test_knowing_one_password_is_no_way_around_that(attempts) -> None:
    for place in range(OF_ADDRESS.free):
        wait(attempts, name=f"name {place}")
        if not wait(attempts, name="mine"):
            attempts.succeed("mine", "1.2.3.4")
    assert wait(attempts, name="another") > 0


def test_behind_a_proxy_only_names_count(attempts) -> None:
    for place in range(200):
        assert wait(attempts, name=f"name {place}", address=None) == 0.0
    for _ in range(5):
        wait(attempts, address=None)
    assert wait(attempts, address=None) > 0


def test_memory_is_bounded(attempts, monkeypatch) -> None:
    for place in range(module._REMEMBERED + 100):
        wait(attempts, name=f"name {place}", address=f"address {place}")
    assert len(attempts._counted) <= module._REMEMBERED
