"""Whose turn it is, what goes into a batch, who is turned away: of a queue without threads."""

from __future__ import annotations

import random

import pytest

from vertune.core.errors import Busy, ConfigError, DataError
from vertune.queueing.fair_queue import BatchLimits, BatchRequest, FairQueue, Throughput, Ticket


class Executor:
    """Counts how often it is compared, which is once for each item that is looked at."""

    def __init__(self):
        self.looks = 0

    def __eq__(self, other):
        self.looks += 1
        return self is other

    __hash__ = object.__hash__


def put(queue, costs, customer="", executor=None):
    ticket = Ticket(BatchRequest([f"{customer}{place}" for place in range(len(costs))], costs, executor, customer), lambda ticket: None)
    queue.add(customer, ticket.items)
    return ticket


def batch(queue):
    chosen = queue.choose()
    queue.take(chosen)
    return chosen


def costs(items):
    return [item.cost for item in items]


def test_a_batch_is_the_due_item_and_the_nearest_in_cost():
    queue = FairQueue(BatchLimits(tokens=40, items=8, fill=0))
    put(queue, [10, 100, 12, 2, 9, 30])
    assert sorted(costs(batch(queue))) == [9, 10, 12]  # 4 × 12 is too much
    assert costs(batch(queue)) == [100]  # larger than a batch may be: alone
    assert costs(batch(queue)) == [2]  # 2 × 30 is too much
    assert costs(batch(queue)) == [30]
    assert batch(queue) == []


def test_a_longer_item_that_does_not_fit_leaves_room_for_a_shorter_one():
    queue = FairQueue(BatchLimits(tokens=40, fill=0))
    put(queue, [20, 21, 10])
    assert costs(batch(queue)) == [20, 10]


def test_little_of_a_batch_is_padding():
    queue = FairQueue(BatchLimits(tokens=1000, fill=0.9))
    put(queue, [40, 9, 10, 36, 10, 12])
    assert sorted(costs(batch(queue))) == [36, 40]  # beside 12 there would be more than a tenth of padding
    assert sorted(costs(batch(queue))) == [9, 10, 10]
    assert costs(batch(queue)) == [12]


def test_a_batch_has_at_most_so_many_items_and_one_executor():
    queue = FairQueue(BatchLimits(items=3))
    put(queue, [5] * 4, executor="a")
    put(queue, [5] * 2, executor="b")
    put(queue, [5], executor="a")
    assert [[item.ticket.request.executor for item in batch(queue)] for _ in range(3)] == [["a"] * 3, ["a"] * 2, ["b"] * 2]


@pytest.mark.parametrize("tokens", [1, 60, 500])
def test_batches_keep_the_limits_and_lose_nothing(tokens):
    draw = random.Random(tokens)
    limits = BatchLimits(tokens=tokens, items=7)
    queue = FairQueue(limits)
    tickets = [put(queue, [draw.randint(1, 50) for _ in range(9)], f"c{place % 5}", f"l{place % 3}") for place in range(40)]
    expected = {item for ticket in tickets for item in ticket.items}
    assert queue.tokens == sum(item.cost for item in expected)
    while items := batch(queue):
        assert len(items) == 1 or max(costs(items)) * len(items) <= tokens
        assert len(items) <= 7
        assert len({item.ticket.request.executor for item in items}) == 1
        assert expected.issuperset(items)
        expected.difference_update(items)
        assert queue.tokens == sum(item.cost for item in expected)
    assert not expected


@pytest.mark.parametrize("customers", [1, 3, 1000])
def test_however_many_wait_few_are_looked_at(customers):
    queue, executor = FairQueue(BatchLimits()), Executor()
    for place in range(customers):
        put(queue, [10] * (30_000 // customers), f"c{place}", executor)
    for _ in range(20):
        executor.looks = 0
        assert len(batch(queue)) == 102
        assert 102 <= executor.looks <= 256


def test_who_has_much_waiting_does_not_keep_others_waiting():
    queue = FairQueue(BatchLimits(tokens=80))
    put(queue, [10] * 10_000, "many")
    for _ in range(50):
        batch(queue)
    for executor in ("a", "b"):
        mine = put(queue, [10], "one", executor)
        assert mine.items[0] in batch(queue)


def test_tokens_and_not_items_are_shared_out():
    queue = FairQueue(BatchLimits(tokens=1))  # each item alone
    put(queue, [30] * 300, "long")
    put(queue, [10] * 900, "short")
    taken = {"long": 0, "short": 0}
    for _ in range(400):
        (item,) = batch(queue)
        taken[item.customer.name] += item.cost
    assert abs(taken["long"] - taken["short"]) <= 40


def test_who_empties_his_queue_and_comes_back_keeps_nobody_from_his_turn():
    queue = FairQueue(BatchLimits(tokens=100))
    put(queue, [100] * 50, "steady")
    taken = {"steady": 0, "again": 0}
    for _ in range(40):
        if not any(item.customer.name == "again" for item in queue):
            put(queue, [10] * 10, "again")
        for item in batch(queue):
            taken[item.customer.name] += item.cost
    assert abs(taken["steady"] - taken["again"]) <= 200


def test_a_stream_of_new_customers_stops_nobody():
    queue = FairQueue(BatchLimits(tokens=200))
    put(queue, [10] * 3000, "steady", "other executor")
    taken = {"steady": 0, "new": 0}
    for place in range(600):
        put(queue, [10], f"new {place}")
        for item in batch(queue):
            taken[item.customer.name.split()[0]] += item.cost
    assert taken["steady"] > taken["new"] / 2


def test_what_is_withdrawn_costs_nothing():
    queue = FairQueue(BatchLimits(tokens=1))
    put(queue, [10] * 5, "other")
    gone = put(queue, [10] * 1000, "mine")
    for item in gone.items:
        queue.remove(item)
        queue.remove(item)
    assert (queue.tokens, queue.active) == (50, 1)
    put(queue, [10] * 5, "mine")
    assert [item.customer.name for _ in range(4) for item in batch(queue)] == ["other", "mine", "other", "mine"]


def test_customers_are_forgotten():
    queue = FairQueue(BatchLimits(tokens=200))
    put(queue, [10] * 3000, "steady", "other executor")
    most = 0
    for place in range(1000):
        put(queue, [10], f"c{place}")
        batch(queue)
        most = max(most, queue.customers)
    assert most < 50  # while somebody waits, those that were here are forgotten as their time comes
    while batch(queue):
        pass
    assert (queue.customers, queue.active, queue.tokens, len(queue._heap)) == (0, 0, 0, 0)


def admitted(queue, name, tokens, deadline=None, rate=0.0):
    try:
        queue.admit(name, tokens, deadline, rate)
    except Busy as error:
        return error.http_status
    return 200


def test_a_full_queue_turns_away_who_has_more_than_a_share_of_it():
    queue = FairQueue(BatchLimits(queued=1000))
    assert admitted(queue, "a", 1000) == 200
    put(queue, [10] * 90, "a")
    assert admitted(queue, "a", 100) == 200
    assert admitted(queue, "a", 101) == 429
    assert admitted(queue, "b", 500) == 200  # below its share, though 1400 is more than 1000
    assert admitted(queue, "b", 501) == 429
    for place in range(11):
        assert admitted(queue, f"c{place}", 80) == 200
        put(queue, [10] * 8, f"c{place}")
    put(queue, [10] * 20, "d")
    assert queue.tokens == 900 + 11 * 80 + 200
    assert admitted(queue, "e", 20) == 200
    assert admitted(queue, "e", 30) == 503  # no more than twice the limit, whoever asks


def test_what_can_never_be_taken_is_not_told_to_come_again():
    with pytest.raises(DataError, match=r"has 1001 tokens; at most 1000"):
        FairQueue(BatchLimits(queued=1000)).admit("a", 1001, None, 0.0)


def test_who_could_not_be_in_time_is_turned_away():
    queue = FairQueue(BatchLimits())
    assert admitted(queue, "a", 10_000, 0.001) == 200  # no rate is known
    assert admitted(queue, "a", 100, 0.1, 1000) == 200  # alone and just in time
    assert admitted(queue, "a", 101, 0.1, 1000) == 503
    put(queue, [10] * 60, "a")
    assert admitted(queue, "a", 100, 1.4, 1000) == 200  # 700 tokens within half of 1.4 s
    assert admitted(queue, "a", 101, 1.4, 1000) == 503
    assert admitted(queue, "b", 100, 0.45, 1000) == 200  # 2 customers: 200 tokens are before it, not 700
    assert admitted(queue, "b", 100, 0.35, 1000) == 503


def test_busy_says_how_much_waits_how_fast_it_goes_and_when_to_come_again():
    queue = FairQueue(BatchLimits(queued=1000))
    put(queue, [10] * 100, "a")
    with pytest.raises(Busy, match=r"1000 tokens wait, 400 are computed a second\. Retry in 2\.50 s") as caught:
        queue.admit("a", 1, None, 400.0)
    assert caught.value.retry_after == 2.5
    assert [queue.busy("", rate).retry_after for rate in (1.0, 1e9, 0.0)] == [60.0, 0.05, 1.0]
    assert "not known yet" in str(queue.busy("", 0.0))


def test_speed_counts_time_in_which_something_was_computed():
    speed = Throughput()
    assert (speed.rate, speed.stale(0.0)) == (0.0, True)
    speed.add(100, 10.0, 11.0)
    assert speed.rate == pytest.approx(100)
    speed.add(100, 10.5, 11.5)  # overlaps: 0.5 s more
    assert 100 < speed.rate < 200
    for place in range(40):
        speed.add(50, 12.0 + place, 12.1 + place)
    assert speed.rate == pytest.approx(500, rel=0.1)
    assert not speed.stale(51.5)
    assert speed.stale(52.2)


def test_a_slow_batch_is_forgotten_after_a_pause():
    speed = Throughput()
    speed.add(10, 0.0, 10.0)
    speed.add(10, 20.0, 20.01)
    assert speed.rate == pytest.approx(1000)


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"items": 0}, {"queued": 0}, {"hang": 0.0}])
def test_limits_that_can_not_work(wrong):
    with pytest.raises(ConfigError, match="at least 1"):
        BatchLimits(**wrong)
