"""The queue of jobs: each is taken by one worker, kept while it lives, taken again when it is dead, and lost by none."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from vertune.core.errors import Conflict, NotFound
from vertune.core.ids import time_ordered_id
from vertune.store import jobs, schema
from vertune.store.database import Database
from vertune.store.jobs import Filter, Leases
from vertune.store.usage import Period, used


def row(**other) -> dict:
    id = time_ordered_id()
    about = {"customer": "bank", "key": None, "kind": "fit", "vertical": "intent", "request": {"config": {"name": "intent"}}, "priority": 4}
    return {"id": id, "at": "2030-01-01T00:00:00.000000+00:00", "idempotency": None, "digest": b"one", **about, **other}


def take(database: Database, worker: str, silent: bool = False, own=()) -> jobs.Job | None:
    """Take a job; with `silent`, as a worker that looked again and again for as long as a lease lasts, and saw none change."""
    seconds = 0.0
    leases = Leases(lambda: seconds)
    with database.reading() as connection:
        table = schema.jobs.c
        found = connection.execute(select(table.id, table.lease).where(table.state == "running"))
        running = {row.id: row.lease for row in found}
    for _ in range(4 if silent else 0):
        leases.unchanged(running)
        seconds += jobs.LEASE.total_seconds() / 4
    return jobs.take(database, worker, leases, own)


def state(database: Database, id: str) -> str:
    with database.reading() as connection:
        return jobs.get(connection, id, Filter()).state


def test_jobs_are_taken_by_priority_and_then_in_order(opened) -> None:
    database = opened()
    ids = [jobs.add(database, row(priority=priority))[0].id for priority in (4, 4, 9, 0)]
    taken = [take(database, "one") for _ in range(5)]
    assert [job and job.id for job in taken] == [ids[2], ids[0], ids[1], ids[3], None]
    assert {(job.state, job.attempts) for job in taken if job} == {("running", 1)}


def test_customers_take_turns(opened) -> None:
    """A customer with a hundred jobs would else make all others wait for days."""
    database = opened()
    bank = [jobs.add(database, row())[0].id for _ in range(4)]
    shop = [jobs.add(database, row(customer="shop"))[0].id for _ in range(2)]
    press = jobs.add(database, row(customer="press", priority=3))[0].id
    taken = [take(database, "one").id for _ in range(7)]
    assert taken == [bank[0], shop[0], bank[1], shop[1], bank[2], bank[3], press]


def test_many_workers_take_each_job_once(opened) -> None:
    database = opened()
    ids = {jobs.add(database, row())[0].id for _ in range(24)}
    taken: list[str] = []

    def work(name: str) -> None:
        own = opened()
        while (job := take(own, name)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=work, args=[f"worker {number}"]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)


def test_a_job_whose_worker_is_silent_is_taken_again_and_fails_at_last(opened) -> None:
    database = opened()
    id = jobs.add(database, row())[0].id
    for attempt in range(1, jobs.ATTEMPTS + 1):
        job = take(database, f"worker {attempt}", silent=True)
        assert job is not None
        assert job.attempts == attempt
    assert take(database, "last", silent=True) is None
    with database.reading() as connection:
        job = jobs.get(connection, id, Filter())
    assert (job.state, "died 3 times" in (job.why or "")) == ("failed", True)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_takes_no_job_from_its_worker(opened, monkeypatch, hours) -> None:
    database = opened()
    id = jobs.add(database, row())[0].id
    take(database, "one")

    class Set(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(hours=hours)

    monkeypatch.setattr(jobs, "datetime", Set)
    assert take(database, "next") is None
    assert jobs.keep(database, id, "one") == "go on"
    assert take(database, "next") is None
    job = take(database, "next", silent=True)
    assert job is not None
    assert job.attempts == 2


def test_a_lease_that_nobody_could_extend_while_the_database_was_gone_is_looked_at_anew() -> None:
    seconds, length = 0.0, jobs.LEASE.total_seconds()
    leases = Leases(lambda: seconds)
    for step, expected in ((0.0, False), (0.4, False), (0.4, False), (0.3, True), (0.6, False), (0.5, False), (0.5, True)):
        seconds += step * length
        assert ("a" in leases.unchanged({"a": "the same"})) is expected
    assert not leases.unchanged({"a": "another"})


def test_a_worker_does_not_take_its_own_job_again(opened) -> None:
    database = opened()
    id = jobs.add(database, row())[0].id
    take(database, "one")
    assert take(database, "one", silent=True, own=[id]) is None
    assert take(database, "two", silent=True) is not None


def test_a_worker_that_lost_its_job_changes_nothing(opened) -> None:
    database = opened()
    id = jobs.add(database, row())[0].id
    take(database, "dead")
    take(database, "next", silent=True)
    assert jobs.keep(database, id, "dead", [(1, {"event": "late"})]) == "lost"
    assert not jobs.end(database, id, "dead", "done", result={"model": "wrong"}, events=[(1, {"event": "late"})])
    assert state(database, id) == "running"
    assert jobs.keep(database, id, "next", [(1, {"event": "step"})]) == "go on"
    assert jobs.end(database, id, "next", "done", result={"model": "right"}, events=[(2, {"event": "saved"})])
    with database.reading() as connection:
        assert jobs.get(connection, id, Filter()).result == {"model": "right"}
        assert jobs.events(connection, id) == [(1, {"event": "step"}), (2, {"event": "saved"})]
        assert jobs.events(connection, id, after=1) == [(2, {"event": "saved"})]
        assert jobs.last_event(connection, id) == 2


def test_what_goes_back_counts_as_an_attempt_only_if_its_process_died(opened) -> None:
    database = opened()
    id = jobs.add(database, row())[0].id
    for about, attempts in (({}, 1), ({"counts": True}, 2)):
        take(database, "one")
        assert jobs.end(database, id, "one", "queued", **about)
        assert state(database, id) == "queued"
        job = take(database, "two")
        assert job is not None
        assert job.attempts == attempts
        jobs.end(database, id, "two", "queued")


def test_cancelling_ends_what_waits_and_tells_what_runs(opened) -> None:
    database = opened()
    waiting, running = (jobs.add(database, row(priority=priority))[0] for priority in (1, 2))
    take(database, "one")
    with database.writing() as connection:
        jobs.cancel(connection, waiting)
        jobs.cancel(connection, running)
    assert state(database, waiting.id) == "cancelled"
    assert jobs.keep(database, running.id, "one") == "stop"
    assert jobs.end(database, running.id, "one", "cancelled")
    with database.writing() as connection:
        jobs.cancel(connection, running)
    assert state(database, running.id) == "cancelled"


def test_what_was_cancelled_while_its_worker_died_is_cancelled(opened) -> None:
    database = opened()
    job = jobs.add(database, row())[0]
    take(database, "dead")
    with database.writing() as connection:
        jobs.cancel(connection, job)
    assert take(database, "next", silent=True) is None
    assert state(database, job.id) == "cancelled"


def test_a_repeated_request_starts_one_job(opened) -> None:
    database = opened()
    first, new = jobs.add(database, row(idempotency="a"))
    assert new
    again, new = jobs.add(database, row(idempotency="a"))
    assert (again.id, new) == (first.id, False)
    assert jobs.add(database, row(idempotency="a", customer="shop"))[1], "another customer's key is another key"
    with pytest.raises(Conflict, match="was used for another job"):
        jobs.add(database, row(idempotency="a", digest=b"other"))


def test_jobs_that_are_started_are_counted_once(opened) -> None:
    database = opened()
    for changes in ({"idempotency": "a"}, {"idempotency": "a"}, {}, {"vertical": "spans"}, {"customer": "shop"}):
        jobs.add(database, row(**changes))
    with database.reading() as connection:
        found = used(connection, Period(), ["customer", "vertical"])
    assert [(one.customer, one.vertical, one.jobs, one.requests) for one in found] == [
        ("bank", "intent", 2, 0), ("bank", "spans", 1, 0), ("shop", "intent", 1, 0),
    ]  # fmt: skip


def test_only_what_is_meant_is_found(opened) -> None:
    database = opened()
    made = [jobs.add(database, row(customer=customer, vertical=vertical))[0] for customer in "ab" for vertical in ("x", "y")]
    with database.reading() as connection:
        assert [job.id for job in jobs.find(connection, Filter(), 9)] == [job.id for job in reversed(made)]
        assert [job.id for job in jobs.find(connection, Filter("a", ("y",)), 9)] == [made[1].id]
        assert [job.id for job in jobs.find(connection, Filter(before=made[1].id), 9)] == [made[0].id]
        assert jobs.count(connection, "a") == 2
        for wanted in (Filter("b"), Filter("a", ("y",)), Filter(None, ())):
            with pytest.raises(NotFound):
                jobs.get(connection, made[0].id, wanted)


def test_a_job_that_has_not_ended_is_not_deleted(opened) -> None:
    database = opened()
    job = jobs.add(database, row())[0]
    with database.writing() as connection, pytest.raises(Conflict, match="has not ended"):
        jobs.remove(connection, job)
    take(database, "one")
    jobs.end(database, job.id, "one", "failed", why="x", events=[(1, {})])
    with database.writing() as connection:
        jobs.remove(connection, jobs.get(connection, job.id, Filter()))
    with database.reading() as connection:
        assert not jobs.find(connection, Filter(), 9)
        assert not jobs.events(connection, job.id)


STEPS = st.lists(st.sampled_from(["add", "take", "steal", "keep", "done", "back", "cancel"]), max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_no_job_is_lost_or_done_twice_whatever_workers_do(tmp_path_factory, steps) -> None:
    """The oracle is the list of what workers did: each job is done once at most, and in the end all can be done."""
    database = Database(tmp_path_factory.mktemp("queue") / "server.db")
    made, held, done, number = set(), {}, [], 0
    try:
        for step in steps:
            number += 1
            if step == "add":
                made.add(jobs.add(database, row())[0].id)
            elif step in ("take", "steal"):
                if (job := take(database, f"worker {number}", silent=step == "steal")) is not None:
                    held[f"worker {number}"] = job
            elif held:
                worker, job = next(iter(held.items()))
                if step == "keep":
                    jobs.keep(database, job.id, worker)
                elif step == "cancel":
                    with database.writing() as connection:
                        jobs.cancel(connection, job)
                else:
                    del held[worker]
                    if jobs.end(database, job.id, worker, "done" if step == "done" else "queued") and step == "done":
                        done.append(job.id)
        for worker, job in held.items():
            jobs.end(database, job.id, worker, "queued")
        while (job := take(database, "last", silent=True)) is not None:
            assert jobs.end(database, job.id, "last", "done")
            done.append(job.id)
        assert len(done) == len(set(done))
        with database.reading() as connection:
            ended = {job.id: job.state for job in jobs.find(connection, Filter(), 100)}
        assert ended.keys() == made
        assert set(ended.values()) <= {"done", "failed", "cancelled"}
        assert {id for id, name in ended.items() if name == "done"} == set(done)
    finally:
        database.close()
