"""Leases: one holder at a time, by a clock of the process; in both databases."""

import pytest

from vertune.core.errors import Conflict
from vertune.store.leases import LEASE, Lease, is_held

SECONDS = LEASE.total_seconds()


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def wait(clock, *leases, seconds):
    """Let time pass, while the leases are looked at every three seconds; return whether each was ever held."""
    held = [False] * len(leases)
    for _ in range(int(seconds // 3)):
        clock.now += 3
        held = [lease.renew() or before for before, lease in zip(held, leases, strict=True)]
    return held


def test_one_process_holds_a_lease_as_long_as_it_gives_signs(opened):
    clock = Clock()
    one, other = Lease(opened(), "watch", clock), Lease(opened(), "watch", clock)
    assert one.renew()
    assert wait(clock, one, other, seconds=3 * SECONDS) == [True, False]


def test_whether_somebody_holds_a_lease_is_known_to_others(opened):
    database = opened()
    one = Lease(database, "watch")
    known = []
    for act in (lambda: None, one.renew, one.release):
        act()
        with database.writing() as connection:
            known.append(is_held(connection, "watch"))
    assert known == [False, True, False]


def test_a_silent_holder_loses_its_lease_and_may_change_nothing(opened):
    clock, database = Clock(), opened()
    one, other = Lease(database, "watch", clock), Lease(opened(), "watch", clock)
    assert one.renew()
    assert wait(clock, other, seconds=SECONDS) == [False]
    assert wait(clock, other, seconds=3) == [True]
    with pytest.raises(Conflict, match="Another process"), database.writing() as connection:
        one.check(connection)
    assert not one.renew()
    with database.writing() as connection:
        other.check(connection)


def test_a_process_that_did_not_look_for_a_while_waits_again(opened):
    clock = Clock()
    one, other = Lease(opened(), "watch", clock), Lease(opened(), "watch", clock)
    assert one.renew()
    assert not other.renew()
    clock.now += 10 * SECONDS  # nobody could look, so the holder could not extend it either
    assert not other.renew()
    assert one.renew()
    assert wait(clock, other, seconds=SECONDS - 3) == [False]


def test_a_lease_that_is_given_back_is_taken_at_once(opened):
    clock = Clock()
    one, other = Lease(opened(), "watch", clock), Lease(opened(), "watch", clock)
    assert one.renew()
    one.release()
    assert other.renew()
    assert not one.renew()
    one.release()
    assert other.renew(), "only the holder gives a lease back"
    assert Lease(opened(), "another", clock).renew()
