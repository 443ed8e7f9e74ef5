"""Batches are formed late, fairly and of like with like; nothing that fails, dies or hangs takes more along than itself."""

from __future__ import annotations

import ctypes
import gc
import logging
import random
import threading
import time
import weakref
from concurrent.futures import CancelledError

import pytest

from vertune.core.errors import Busy, ConfigError, DataError, ModelError
from vertune.queueing.batcher import Batcher, BatchLimits, BatchRequest, Ticket

LONG = 10.0
"""Seconds after which a test that waits has failed."""


class Engine:
    """Answers a payload with its double, a batch for each `release`, and remembers the batches; `held` says that it has one."""

    def __init__(self, free=False):
        self.batches, self.executors = [], []
        self._free = free
        self._held, self._released = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, executor, payloads):
        self.batches.append(list(payloads))
        self.executors.append(executor)
        self._held.release()
        if not self._free:
            assert self._released.acquire(timeout=LONG)
        return [self.one(payload) for payload in payloads]

    def one(self, payload):
        return payload * 2

    def held(self):
        assert self._held.acquire(timeout=LONG)

    def release(self, times=1):
        self._released.release(times)

    def open(self):
        self._free = True
        self._released.release(100)


class Fragile(Engine):
    """Fails of odd payloads with an error, and with what is below 0 by ending its thread."""

    def one(self, payload):
        if payload < 0:
            raise SystemExit("no more")
        if payload % 2:
            raise ValueError(f"{payload} is odd")
        return payload * 2


@pytest.fixture
def start():
    """Makes batchers that are closed after the test, in which no thread may have ended with an unhandled exception."""
    started = []

    def make(compute, *, limits=None, **options):
        started.append((Batcher(compute, limits or BatchLimits(), **options), compute))
        return started[-1][0]

    yield make
    for batcher, compute in started:
        if isinstance(compute, Engine):
            compute.open()
        batcher.close()
        assert not batcher.alive


def one(batcher, payload, cost=10, **options):
    return batcher.submit(BatchRequest([payload], [cost], **options))


def until(condition):
    """Wait for what no event tells."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def error_of(ticket):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (what it is, the test says)
        ticket.result(LONG)
    return caught.value


# ------------------------------------------------------------------ batches


def quiet(batcher):
    """Wait until nothing waits and nothing is computed."""
    until(lambda: not (batcher.queued or batcher._returned or any(worker.items or worker.owed for worker in batcher._workers)))


def test_a_batch_is_formed_when_a_worker_becomes_free(start):
    engine = Engine()
    batcher = start(engine)
    first = one(batcher, 1)
    engine.held()  # alone: it did not wait for company
    others = [one(batcher, payload) for payload in range(2, 7)]
    assert batcher.queued == 50
    engine.release(2)
    assert [ticket.result(LONG) for ticket in (first, *others)] == [[2], [4], [6], [8], [10], [12]]
    assert engine.batches == [[1], [2, 3, 4, 5, 6]]
    assert batcher.queued == 0


def test_the_nearest_in_length_keep_company_within_an_executor(start):
    engine = Engine()
    batcher = start(engine, limits=BatchLimits(tokens=60))
    one(batcher, 0)
    engine.held()
    tickets = [
        one(batcher, cost, cost, executor=executor) for cost, executor in ((20, "a"), (60, "a"), (19, "a"), (20, "b"), (3, "a"), (18, "a"))
    ]
    engine.open()
    assert [ticket.result(LONG) for ticket in tickets] == [[40], [120], [38], [40], [6], [36]]
    assert engine.batches[1:] == [[20, 19, 18], [60], [20], [3]]
    assert engine.executors[1:] == ["a", "a", "b", "a"]


def test_results_come_in_order_and_are_finished(start):
    batcher = start(Engine(free=True), limits=BatchLimits(tokens=20))
    costs = [random.Random(1).randint(1, 20) for _ in range(50)]
    ticket = batcher.submit(BatchRequest(list(range(50)), costs, finish=sum))
    assert ticket.result(LONG) == sum(range(50)) * 2
    assert batcher.submit(BatchRequest(list(range(50)), costs)).result(LONG) == [2 * payload for payload in range(50)]
    assert (ticket.completed, ticket.value, ticket.error) == (True, 2450, None)


def test_a_request_of_nothing_is_done(start):
    ticket = start(Engine()).submit(BatchRequest([], [], finish=len))
    assert ticket.completed
    assert ticket.result(0) == 0


def test_a_cost_is_at_least_one_token_and_each_payload_has_one(start):
    batcher = start(Engine())
    with pytest.raises(DataError, match="has the cost 0; it must be at least 1"):
        batcher.submit(BatchRequest([1, 2], [1, 0]))
    with pytest.raises(ValueError, match="zip"):
        batcher.submit(BatchRequest([1, 2], [1]))
    assert batcher.queued == 0


def test_no_worker_is_an_error_of_the_config():
    with pytest.raises(ConfigError, match="number of worker threads is 0; expected at least 1"):
        Batcher(Engine(), workers=0)


def test_workers_compute_at_once(start):
    together = threading.Barrier(3)

    def compute(executor, payloads):
        together.wait(LONG)
        return payloads

    batcher = start(compute, limits=BatchLimits(items=1), workers=3)
    ticket = batcher.submit(BatchRequest([1, 2, 3], [1, 1, 1]))
    assert ticket.result(LONG) == [1, 2, 3]


def test_time_is_told(start):
    engine = Engine()
    seen = []
    batcher = start(engine, watch=seen.append)
    assert (batcher.rate, batcher.last_success, batcher.alive) == (0.0, None, True)
    before = time.monotonic()
    first = one(batcher, 1)
    engine.held()
    second = batcher.submit(BatchRequest([2, 3], [9, 10]))
    time.sleep(0.02)
    assert second.waited == 0
    engine.release()
    first.result(LONG)
    engine.held()
    time.sleep(0.01)
    engine.release()
    second.result(LONG)
    until(lambda: len(seen) == 2)
    assert [(batch.executor, batch.items, batch.tokens, batch.padded) for batch in seen] == [(None, 1, 10, 10), (None, 2, 19, 20)]
    assert first.computed == seen[0].seconds >= 0.02 <= second.waited
    assert second.computed == seen[1].seconds >= 0.01  # once, though two of its items were in it
    assert first.waited < second.waited
    assert 10 / (time.monotonic() - before) < batcher.rate < 19 / 0.01
    assert before < batcher.last_success < time.monotonic()


# ------------------------------------------------------------------ who is turned away


def test_one_who_asks_much_does_not_delay_another(start):
    engine = Engine()
    batcher = start(engine, limits=BatchLimits(tokens=100))
    batcher.submit(BatchRequest([0] * 10_000, [10] * 10_000, customer="many"))
    engine.held()
    other = one(batcher, 7, customer="one")
    engine.release(2)
    assert other.result(LONG) == [14]
    assert len(engine.batches) <= 3


def test_a_full_queue_turns_away_who_has_too_much_of_it(start):
    engine = Engine()
    batcher = start(engine, limits=BatchLimits(queued=100))
    one(batcher, 0, customer="a")
    engine.held()
    batcher.submit(BatchRequest([1] * 9, [10] * 9, customer="a"))
    with pytest.raises(Busy, match="90 tokens wait") as caught:
        one(batcher, 1, 20, customer="a")
    assert caught.value.http_status == 429
    assert 0.05 <= caught.value.retry_after <= 60
    assert batcher.queued == 90
    other = one(batcher, 1, 20, customer="b")
    engine.open()
    assert other.result(LONG) == [2]


def measured(batcher, engine, rate=100):
    """Let it believe in a rate, and hold it with a batch, so that the rate is not too old to count."""
    now = time.monotonic()
    batcher._speed.add(rate, now - 1.0, now)
    ticket = one(batcher, 0, 1)
    engine.held()
    return ticket


def test_who_could_not_be_in_time_is_turned_away_at_once(start):
    engine = Engine()
    batcher = start(engine)
    measured(batcher, engine)
    with pytest.raises(Busy, match="could not be answered within its deadline of 500 ms"):
        one(batcher, 1, 60, deadline=0.5)
    late = one(batcher, 1, 1000)
    with pytest.raises(Busy, match=r"1000 tokens wait, 100 are computed a second\. Retry in 10\.00 s"):
        one(batcher, 1, 1, deadline=5.0)
    batcher.check("", 1, 25.0)
    with pytest.raises(Busy, match="1000 tokens wait"):
        batcher.check("", 1, 5.0)  # the same, before the request is made ready
    assert batcher.queued == 1000
    assert one(batcher, 1, 1, deadline=25.0)
    assert one(batcher, 1, 1, deadline=5.0, customer="another")
    late.cancel()


def test_a_rate_measured_long_ago_refuses_nobody(start):
    batcher = start(Engine(free=True))
    batcher._speed.add(1, time.monotonic() - 62.0, time.monotonic() - 2.0)
    assert one(batcher, 1, 10, deadline=5.0).result(LONG) == [2]  # though by that rate it takes 600 s
    assert batcher.rate > 10


def test_a_rate_counts_however_old_while_something_is_computed(start):
    engine = Engine()
    batcher = start(engine)
    measured(batcher, engine)
    batcher._speed.last -= 100
    with pytest.raises(Busy, match="could not be answered within its deadline of 500 ms"):
        one(batcher, 1, 60, deadline=0.5)


def test_what_is_too_late_is_not_computed(start):
    engine = Engine()
    batcher = start(engine, limits=BatchLimits(items=2))
    one(batcher, 0)
    engine.held()
    late = batcher.submit(BatchRequest([1, 2, 3, 4, 5], [10] * 5, deadline=0.02))
    told = threading.Event()
    late.done(lambda ticket: told.set())
    patient = [one(batcher, 10), one(batcher, 11, deadline=60.0)]
    time.sleep(0.03)
    engine.open()
    error = error_of(late)
    assert isinstance(error, Busy)
    assert "could not be answered within its deadline of 20 ms" in str(error)
    assert error.http_status == 503
    assert told.wait(LONG)
    assert [ticket.result(LONG) for ticket in patient] == [[20], [22]]
    assert engine.batches == [[0], [10, 11]]
    assert late.waited > 0.02


def test_what_would_be_late_by_the_measured_rate_is_not_computed(start):
    engine = Engine()
    batcher = start(engine, limits=BatchLimits(tokens=10_000))
    measured(batcher, engine)
    hopeless = one(batcher, 1, 1000, deadline=100.0)
    one(batcher, 2, 1000)
    hopeful = one(batcher, 3, 1000, deadline=1000.0)
    # now all three are one batch of 30 s
    hopeless.until = time.monotonic() + 25
    engine.release()
    assert isinstance(error_of(hopeless), Busy)
    engine.open()
    assert hopeful.result(LONG) == [6]
    assert engine.batches[1] == [2, 3]


# ------------------------------------------------------------------ tickets


def test_a_cancelled_request_frees_its_place_at_once(start):
    engine = Engine()
    batcher = start(engine)
    running = one(batcher, 1)
    engine.held()
    waiting = batcher.submit(BatchRequest([2, 3], [10, 10]))
    other = one(batcher, 4)
    told = []
    for ticket in (running, waiting):
        ticket.done(told.append)
        ticket.cancel()
        ticket.cancel()
        assert isinstance(error_of(ticket), CancelledError)
    assert told == [running, waiting]
    assert batcher.queued == 10
    engine.open()
    assert other.result(LONG) == [8]
    assert engine.batches == [[1], [4]]
    other.cancel()
    assert other.result(0) == [8]


def test_of_a_cancelled_request_nothing_is_left(start):
    engine = Engine(free=True)
    batcher = start(engine)
    tickets = [one(batcher, payload, customer=str(payload)) for payload in range(100)]
    for ticket in tickets[::2]:
        ticket.cancel()
    quiet(batcher)
    assert (batcher.queued, batcher._queue.customers, batcher._queue._heap) == (0, 0, [])
    gone = [weakref.ref(item) for item in tickets[1].items]
    del tickets, ticket
    gc.collect()
    assert not [reference for reference in gone if reference()]


def test_a_result_can_be_waited_for_a_while(start):
    engine = Engine()
    ticket = one(start(engine), 1)
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            ticket.result(0.01)
    assert not ticket._waiters
    found = []
    threads = [threading.Thread(target=lambda: found.append(ticket.result(LONG))) for _ in range(4)]
    for thread in threads:
        thread.start()
    engine.release()
    for thread in threads:
        thread.join(LONG)
    assert found == [[2]] * 4


def test_what_is_completed_while_one_begins_to_wait_is_seen(start, monkeypatch):
    ticket = one(start(Engine()), 1)

    class Late(threading.Event):
        def __init__(self):
            super().__init__()
            ticket.cancel()

    monkeypatch.setattr("vertune.queueing.fair_queue.Event", Late)
    assert isinstance(error_of(ticket), CancelledError)


def test_a_callback_that_another_thread_was_faster_to_call_is_not_called():
    class Taken(list):
        def pop(self):
            self.clear()
            return super().pop()

    ticket = Ticket(BatchRequest([1], [1]), lambda ticket: None)
    told = []
    ticket._callbacks = Taken([told.append])
    ticket.call_back()
    assert told == []


def test_callbacks_are_posted_once_a_batch(start):
    engine = Engine()
    posted, told = [], []
    batcher = start(engine, post=posted.append)
    one(batcher, 0)
    engine.held()
    tickets = [one(batcher, payload) for payload in range(20)]
    for ticket in tickets:
        ticket.done(told.append)
    engine.open()
    quiet(batcher)
    assert len(posted) == 1  # and none for the first batch, of which nobody wants to know
    assert told == []
    posted[0]()
    assert told == tickets
    posted[0]()
    assert told == tickets
    tickets[3].done(told.append)
    assert told == [*tickets, tickets[3]]


def test_callbacks_that_fail_hold_nobody_up(start, caplog):
    def fail(ticket):
        raise RuntimeError("of a callback")

    def post(call):
        call()
        raise RuntimeError("of the loop")

    def watch(batch):
        raise RuntimeError("of the watch")

    engine, told = Engine(), []
    batcher = start(engine, post=post, watch=watch)
    workers = list(batcher._workers)
    one(batcher, 0)
    engine.held()
    tickets = [one(batcher, payload) for payload in range(3)]
    for ticket in tickets:
        for callback in (told.append, fail, told.append):
            ticket.done(callback)
    engine.open()
    assert [ticket.result(LONG) for ticket in tickets] == [[0], [2], [4]]
    assert one(batcher, 9).result(LONG) == [18]
    quiet(batcher)
    assert told == [ticket for ticket in tickets for _ in range(2)]
    assert batcher._workers == workers
    seen = {str(record.exc_info[1]) for record in caplog.records if record.exc_info and record.name == "vertune"}
    assert seen == {"of a callback", "of the loop", "of the watch"}


# ------------------------------------------------------------------ failures


def test_of_a_batch_that_fails_only_the_cause_fails(start):
    engine = Fragile()
    batcher = start(engine)
    one(batcher, 0)
    engine.held()
    tickets = [one(batcher, 3 if place == 11 else 2 * place) for place in range(16)]
    engine.open()
    error = error_of(tickets[11])
    assert isinstance(error, ModelError)
    assert "ValueError: 3 is odd" in str(error)
    assert isinstance(error.__cause__, ValueError)
    del tickets[11]
    assert [ticket.result(LONG) for ticket in tickets] == [[4 * place] for place in range(16) if place != 11]
    assert len(engine.batches) == 2 + 2 * 4  # 16, then two halves on each of four levels


def test_what_is_left_of_a_failed_request_is_not_computed(start):
    engine = Fragile(free=True)
    batcher = start(engine, limits=BatchLimits(items=1))
    ticket = batcher.submit(BatchRequest([2, 3, *[4] * 50], [10] * 52))
    assert isinstance(error_of(ticket), ModelError)
    quiet(batcher)
    assert engine.batches == [[2], [3]]


def test_an_error_of_ours_is_passed_on_as_it_is(start):
    wanted = DataError("Row 7 is empty.")

    def compute(executor, payloads):
        raise wanted

    assert error_of(one(start(compute), 1)) is wanted


@pytest.mark.parametrize("results", [[], [1, 2], None])
def test_a_wrong_number_of_results_is_an_error_of_the_model(start, results):
    assert isinstance(error_of(one(start(lambda executor, payloads: results), 1)), ModelError)


@pytest.mark.parametrize("error", [KeyError("gone"), SystemExit(3)])
def test_what_fails_while_finished_touches_no_other(start, error):
    def fail(results):
        raise error

    engine = Engine()
    batcher = start(engine)
    one(batcher, 0)
    engine.held()
    good, bad, better = one(batcher, 1), one(batcher, 2, finish=fail), one(batcher, 3, finish=len)
    engine.open()
    found = error_of(bad)
    assert found is error or (isinstance(found, ModelError) and found.__cause__ is error)
    assert (good.result(LONG), better.result(LONG)) == ([2], 1)
    assert engine.batches == [[0], [1, 2, 3]]


def test_a_worker_that_dies_is_replaced_and_its_batch_tried_again_in_halves(start, caplog):
    engine = Fragile()
    batcher = start(engine)
    one(batcher, 0)
    engine.held()
    tickets = [one(batcher, payload) for payload in (2, 4, 6, -1)]
    engine.open()
    assert [ticket.result(LONG) for ticket in tickets[:2]] == [[4], [8]]
    for ticket in tickets[2:]:
        error = error_of(ticket)
        assert isinstance(error, ModelError)
        assert "SystemExit: no more" in str(error)
    assert engine.batches == [[0], [2, 4, 6, -1], [2, 4], [6, -1]]
    assert one(batcher, 8).result(LONG) == [16]
    assert batcher.alive
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


class Interrupt(BaseException):
    """Raised in a worker from outside."""


def test_an_exception_from_outside_kills_a_worker_and_no_request(start):
    workers = []

    def compute(executor, payloads):
        workers.append(threading.get_ident())
        if len(workers) == 1:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(workers[0]), ctypes.py_object(Interrupt))
            until(lambda: False)
        return payloads

    assert one(start(compute), 5).result(LONG) == [5]
    assert len(set(workers)) == 2


def test_a_worker_that_dies_without_a_word_is_missed(start):
    engine = Fragile(free=True)
    batcher = start(engine, limits=BatchLimits(hang=2.0))
    replace, batcher._replace = batcher._replace, lambda worker, cause: None
    ticket = one(batcher, -1)
    engine.held()
    until(lambda: not batcher.alive)
    batcher._replace = replace
    until(lambda: batcher.alive)
    assert isinstance(error_of(ticket), ModelError)
    assert one(batcher, 2).result(LONG) == [4]
    assert engine.batches == [[-1], [-1], [2]]


def test_a_worker_that_hangs_is_given_up_and_heard_no_more(start):
    engine, seen = Engine(), []
    batcher = start(engine, limits=BatchLimits(hang=0.1), watch=seen.append)
    hung = batcher._workers[0]
    stuck = one(batcher, 1)
    told = []
    stuck.done(told.append)
    engine.held()
    error = error_of(stuck)
    assert isinstance(error, ModelError)
    assert "0.1 s" in str(error)
    assert batcher.alive
    assert hung not in batcher._workers
    engine.open()
    assert engine.batches == [[1]]
    assert one(batcher, 2).result(LONG) == [4]
    hung.thread.join(LONG)
    assert not hung.thread.is_alive()
    quiet(batcher)
    assert (stuck.value, told, len(seen)) == (None, [stuck], 1)


def test_what_fails_after_it_was_given_up_is_not_tried_again(start):
    engine = Fragile()
    batcher = start(engine, limits=BatchLimits(hang=0.1))
    hung = batcher._workers[0]
    stuck = batcher.submit(BatchRequest([2, 3], [10, 10]))
    engine.held()
    assert isinstance(error_of(stuck), ModelError)
    engine.open()
    hung.thread.join(LONG)
    assert not batcher._returned
    quiet(batcher)


def test_a_worker_without_work_does_not_hang(start):
    batcher = start(Engine(free=True), limits=BatchLimits(hang=0.05))
    workers = list(batcher._workers)
    assert one(batcher, 1).result(LONG) == [2]
    time.sleep(0.15)
    assert batcher._workers == workers


def test_a_worker_that_dies_between_two_lines_loses_nothing(start):
    engine = Engine(free=True)
    batcher = start(engine)
    take = batcher._queue.take
    until(lambda: batcher._sleeping)

    def die(items):
        batcher._queue.take = take
        raise Interrupt

    batcher._queue.take = die
    assert batcher.submit(BatchRequest([1, 2], [20, 20])).result(LONG) == [2, 4]
    quiet(batcher)
    assert batcher.queued == 0
    assert engine.batches == [[1], [2]]


def test_an_item_that_is_computed_twice_counts_once(start):
    engine = Engine()
    batcher = start(engine, limits=BatchLimits(items=1))
    ticket = batcher.submit(BatchRequest([1, 2], [10, 10]))
    engine.held()
    batcher._returned.append([ticket.items[0]])
    engine.release()
    engine.held()
    engine.release()
    engine.held()
    assert engine.batches == [[1], [1], [2]]
    assert not ticket.completed
    engine.release()
    assert ticket.result(LONG) == [2, 4]


def test_a_worker_that_hangs_while_it_finishes_is_given_up(start):
    gate = threading.Event()
    batcher = start(Engine(free=True), limits=BatchLimits(hang=0.1))
    stuck = one(batcher, 1, finish=lambda results: gate.wait(LONG))
    assert isinstance(error_of(stuck), ModelError)
    assert one(batcher, 2).result(LONG) == [4]
    gate.set()


def test_a_worker_that_can_not_be_started_is_started_later(start, monkeypatch):
    engine = Fragile(free=True)
    batcher = start(engine, limits=BatchLimits(hang=2.0))
    begin, failed = threading.Thread.start, threading.Event()

    def no_thread(thread):
        if thread.name != "batcher-worker" or failed.is_set():
            return begin(thread)
        failed.set()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    ticket = one(batcher, -1)
    assert failed.wait(LONG)
    assert isinstance(error_of(ticket), ModelError)
    assert one(batcher, 2).result(LONG) == [4]


# ------------------------------------------------------------------ the end


def test_what_waits_at_the_end_is_told_at_once(start):
    engine = Engine()
    batcher = start(engine, limits=BatchLimits(items=1), workers=2)
    running = [one(batcher, 1), one(batcher, 2)]
    engine.held()
    engine.held()
    waiting = [one(batcher, payload) for payload in range(5)]
    told = []
    for ticket in waiting:
        ticket.done(told.append)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    assert all(isinstance(error_of(ticket), Busy) for ticket in waiting)
    engine.open()
    closing.join(LONG)
    assert [ticket.result(0) for ticket in running] == [[2], [4]]
    assert told == waiting
    assert (batcher.alive, batcher.queued) == (False, 0)
    until(lambda: not any(thread.name == "batcher-supervisor" and thread.is_alive() for thread in threading.enumerate()))
    with pytest.raises(Busy, match="is stopping"):
        one(batcher, 1)
    batcher.close()


def test_what_hangs_at_the_end_is_given_up(start):
    engine = Engine()
    batcher = start(engine, limits=BatchLimits(hang=0.1))
    stuck, told = one(batcher, 1), []
    stuck.done(told.append)
    engine.held()
    batcher.close()
    assert isinstance(error_of(stuck), ModelError)
    assert told == [stuck]
    assert not batcher.alive


class Single(Engine):
    """Fails of every batch of several items."""

    def __call__(self, executor, payloads):
        if len(payloads) > 1:
            raise ValueError
        return super().__call__(executor, payloads)


def test_what_was_to_be_tried_again_at_the_end_is_given_up(start):
    engine = Single()
    batcher = start(engine)
    one(batcher, 0)
    engine.held()
    tickets, told = [one(batcher, 1), one(batcher, 2)], []
    for ticket in tickets:
        ticket.done(told.append)
    engine.release()
    engine.held()
    batcher.limits = BatchLimits(hang=0.05)  # for `close` alone: the supervisor sleeps a second
    batcher.close()
    assert all("was stopped" in str(error_of(ticket)) for ticket in tickets)
    assert told == tickets
    assert engine.batches == [[0], [1]]


def test_what_fails_at_the_end_still_fails_alone(start):
    engine = Fragile()
    batcher = start(engine)
    one(batcher, 0)
    engine.held()
    tickets = [one(batcher, payload) for payload in (2, 3, 4, 6, -1)]
    engine.release()
    engine.held()
    closing = threading.Thread(target=batcher.close)
    closing.start()
    until(lambda: batcher._closed)
    engine.open()
    closing.join(LONG)
    assert all(ticket.completed for ticket in tickets)
    assert tickets[0].result(0) == [4]
    assert "3 is odd" in str(error_of(tickets[1]))
    assert not batcher.alive


def test_a_worker_that_dies_while_it_leaves_has_left(start):
    batcher = start(Engine())
    staff = batcher._staff

    def die():
        batcher._staff = staff
        raise Interrupt

    until(lambda: batcher._sleeping)
    batcher._staff = die
    batcher.close()
    until(lambda: not any(thread.name == "batcher-worker" and thread.is_alive() for thread in threading.enumerate()))
    assert not batcher.alive


def test_a_callback_may_close(start):
    engine = Engine(free=True)
    batcher = start(engine, limits=BatchLimits(hang=5.0))
    done = threading.Event()

    def close(ticket):
        batcher.close()
        done.set()

    one(batcher, 1).done(close)
    assert done.wait(2.0)
    until(lambda: not batcher.alive)


# ------------------------------------------------------------------ all at once


def judge(ticket, request, cancelled):
    """Whether a ticket ended as it may."""
    assert ticket.completed, "nothing may be forgotten"
    if ticket.error is None:
        assert ticket.value == (len(request.payloads), [payload * 3 for payload in request.payloads])
        assert -7 not in request.payloads
    elif isinstance(ticket.error, CancelledError):
        assert cancelled
    elif isinstance(ticket.error, Busy):
        assert request.deadline is not None
    else:
        assert isinstance(ticket.error, ModelError)
        assert "died" in str(ticket.error) or ("poison" in str(ticket.error) and -7 in request.payloads)


@pytest.mark.parametrize("seed", range(4))
def test_every_ticket_is_completed_once_with_its_own_result(seed, caplog):
    caplog.set_level(logging.CRITICAL, "vertune")
    chance, calls, made = random.Random(seed), [], []

    def compute(executor, payloads):
        if chance.random() < 0.02:
            raise SystemExit
        if chance.random() < 0.1:
            time.sleep(0.001)
        if -7 in payloads:
            raise ValueError("poison")
        assert len(payloads) == 1 or executor in (1, 2)
        return [payload * 3 for payload in payloads]

    batcher = Batcher(compute, BatchLimits(tokens=200, items=16, queued=4000), workers=1 + seed % 3)

    def ask(number):
        draw = random.Random(f"{seed} {number}")
        for _ in range(150):
            payloads = [-7 if draw.random() < 0.01 else draw.randrange(1000) for _ in range(draw.choice((0, 1, 1, 1, 2, 5, 30)))]
            request = BatchRequest(
                payloads,
                [draw.randint(1, 40) for _ in payloads],
                executor=draw.choice((1, 2)),
                customer=str(draw.randrange(3)),
                deadline=draw.choice((None, None, 0.0005, 0.05, 5.0)),
                finish=lambda results: (len(results), results),
            )
            cancelled = draw.random() < 0.1
            try:
                ticket = batcher.submit(request)
            except Busy:
                time.sleep(0.001)
                continue
            ticket.done(calls.append)
            made.append((ticket, request, cancelled))
            if cancelled:
                ticket.cancel()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    quiet(batcher)
    batcher.close()
    assert len(made) > 100
    for ticket, request, cancelled in made:
        judge(ticket, request, cancelled)
    assert sorted(map(id, calls)) == sorted(id(ticket) for ticket, _, _ in made)
    assert any(ticket.error is None for ticket, _, _ in made)
    assert (batcher.queued, batcher._queue.customers, batcher.alive) == (0, 0, False)
