"""Requests: written in groups, counted exactly once, and deleted when they are too old or too many."""

import contextlib
import logging
import sqlite3
import time

import pytest
import sqlalchemy
from sqlalchemy import func, select

from vertune.core.errors import NotFound
from vertune.core.ids import first_id_at, time_ordered_id
from vertune.store import feedback, schema, writer
from vertune.store.retention import _STEP, Retention, size, size_of_requests
from vertune.store.traffic import Entry, Used, answer_id, find_answer, fingerprint, fingerprint_key, parse_answer_id, write
from vertune.store.writer import Described, Writer

USED = Used("2030-01-01", "bank", "0123456789ab", "intent")


def entry(number=0, id=None, answers=1, text="a"):
    """A request with so many answers, each of 10 tokens."""
    id = id or time_ordered_id()
    request = {
        "id": id, "at": "2030-01-01T00:00:00.000000+00:00", "customer": "bank", "key": USED.key, "resource": "predict", "status": 200,
        "seconds": 0.01, "records": answers, "tokens": 10 * answers, "cached_tokens": number,
    }  # fmt: skip
    rows = [
        {
            "request": id, "number": place, "vertical": "intent", "model": "intent-1", "record": f'{{"text": "{text}"}}',
            "fingerprint": bytes(8), "answer": '{"label": "x"}', "confidence": 0.5,
        }
        for place in range(answers)
    ]  # fmt: skip
    return Entry(request, rows, {USED: (1, answers, 10 * answers, number)})


def stored(database):
    """The number of requests and of answers, and the usage."""
    with database.reading() as connection:
        counts = [connection.scalar(select(func.count()).select_from(table)) for table in (schema.requests, schema.answers)]
        columns = schema.usage.c
        used = connection.execute(
            select(func.sum(columns.requests), func.sum(columns.records), func.sum(columns.tokens), func.sum(columns.cached_tokens))
        ).one()
    return (*counts, tuple(int(amount or 0) for amount in used))


DESCRIBED = Described(lambda item: item, lambda item: item.usage, lambda item: 1000)
"""How a writer reads entries, which are rows already; each counts as 1,000 bytes."""


@pytest.fixture
def writing(database, monkeypatch):
    """A writer that is running; every item is an entry already."""
    monkeypatch.setattr(writer, "INTERVAL", 0.01)
    monkeypatch.setattr(writer, "_RETRY", 0.05)
    made = Writer(database, DESCRIBED)
    made.start()
    yield made
    made.stop()


def test_ids_have_the_order_of_their_times_and_never_repeat():
    before = time.time()
    ids = [time_ordered_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert [id[:12] for id in ids] == sorted(id[:12] for id in ids)
    assert first_id_at(before) <= ids[0] <= ids[-1] < first_id_at(time.time() + 1)
    assert {id[12] for id in ids} == {"7"}


def test_usage_is_added_up_by_day_customer_key_and_vertical(database):
    others = [Used("2030-01-02", USED.customer, USED.key, USED.vertical), Used(USED.day, "shop", "", "mood")]
    with database.writing() as connection:
        write(connection, [entry(1, answers=2), entry(2)])
        write(connection, [Entry(entry().request, [], {USED: (1, 1, 1, 0), others[0]: (1, 2, 3, 4), others[1]: (5, 6, 7, 8)})])
        rows = {tuple(row[:4]): tuple(row[4:8]) for row in connection.execute(select(schema.usage))}
    assert rows == {
        ("2030-01-01", "bank", USED.key, "intent"): (3, 4, 31, 3),
        ("2030-01-02", "bank", USED.key, "intent"): (1, 2, 3, 4),
        ("2030-01-01", "shop", "", "mood"): (5, 6, 7, 8),
    }


def test_an_answer_is_found_by_its_id(database):
    one = entry(answers=3)
    with database.writing() as connection:
        write(connection, [one])
        found = find_answer(connection, answer_id(one.request["id"], 2))
        assert (found.customer, found.vertical, found.model, found.number) == ("bank", "intent", "intent-1", 2)
        assert (found.record, found.answer) == ({"text": "a"}, {"label": "x"})
        assert find_answer(connection, answer_id(one.request["id"], 3)) is None


@pytest.mark.parametrize("id", ["", "x", "0" * 32, f"{'0' * 31}-1", f"{'0' * 32}-", f"{'0' * 32}--1", f"{'0' * 32}-{'1' * 10}", "é" * 40])
def test_what_is_no_id_of_an_answer(id):
    with pytest.raises(NotFound, match="not the id of an answer"):
        parse_answer_id(id)


def test_a_fingerprint_knows_the_record_and_the_database(opened, database, tmp_path):
    key = fingerprint_key(database)
    assert fingerprint_key(opened()) == key
    assert fingerprint({"text": "a", "text_pair": "b"}, key) == fingerprint({"text_pair": "b", "text": "a"}, key)
    assert len({fingerprint(record, key) for record in ({"text": "a"}, {"text": "A"}, {"text": "a", "n": 1}, {"text": "a", "n": 2})}) == 4
    assert fingerprint({"text": "a"}, key) != fingerprint({"text": "a"}, bytes(32))
    assert fingerprint({"n": 1 << 70}, key) != fingerprint({"n": 1 << 71}, key)
    assert fingerprint({"text": "\ud800"}, key) == fingerprint({"text": "\ud800"}, key)


def test_requests_are_written_in_groups(database, writing, monkeypatch):
    begun = []
    sqlalchemy.event.listen(database._engine, "begin", begun.append)
    for _ in range(2500):
        writing.add(entry(answers=2))
    assert writing.flush(20)
    assert stored(database) == (2500, 5000, (2500, 5000, 50_000, 0))
    assert len(begun) < 40


def test_what_is_left_is_written_at_the_end(database, monkeypatch):
    monkeypatch.setattr(writer, "INTERVAL", 60.0)
    made = Writer(database, DESCRIBED)
    made.start()
    time.sleep(0.1)
    for _ in range(10):
        made.add(entry())
    made.stop()
    assert stored(database)[0] == 10


def test_a_request_that_can_not_be_described_stops_no_other(database, monkeypatch, caplog):
    def describe(item):
        if item is broken:
            raise KeyError("on purpose")
        return item

    monkeypatch.setattr(writer, "INTERVAL", 0.01)
    broken = entry()
    made = Writer(database, Described(describe, lambda item: item.usage, lambda item: 1000))
    for item in (entry(), broken, entry()):
        made.add(item)
    made.start()
    assert made.flush()
    made.stop()
    assert stored(database) == (2, 2, (3, 3, 30, 0))
    assert made.dropped == 1
    assert "could not be stored" in caplog.text


def test_rows_that_the_database_refuses_are_counted_and_stop_no_others(database, writing, caplog):
    first = entry()
    writing.add(first)
    assert writing.flush()
    writing.add(first)  # with an id that is there already
    assert writing.flush()
    writing.add(entry())
    assert writing.flush()
    assert stored(database) == (2, 2, (3, 3, 30, 0))
    assert writing.dropped == 1
    assert "counted in the usage" in caplog.text


@pytest.fixture
def broken(database):
    """Makes the database fail: each of the next transactions runs to its end, and then is or is not committed, but says it was not."""
    plan = []

    class Broken(type(database)):
        @contextlib.contextmanager
        def writing(self, wait=None):
            if not plan:
                with super().writing(wait) as connection:
                    yield connection
                return
            committed = plan.pop(0)
            with contextlib.suppress(InterruptedError), super().writing(wait) as connection:
                yield connection
                if not committed:
                    raise InterruptedError
            raise writer.StorageError("The database is gone. Start it.")

    database.__class__ = Broken
    return plan


def test_nothing_is_lost_and_nothing_counted_twice_while_the_database_fails(database, broken, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(writer, "INTERVAL", 0.01)
    monkeypatch.setattr(writer, "_RETRY", 0.01)
    made = Writer(database, DESCRIBED)
    broken += [False, False, True, False, True]
    for _ in range(1500):
        made.add(entry())
    made.start()
    time.sleep(0.2)
    for _ in range(10):
        made.add(entry())
    assert made.flush(20)
    made.stop()
    assert not broken
    assert stored(database) == (1510, 1510, (1510, 1510, 15_100, 0))
    assert made.dropped == 0
    assert caplog.text.count("can't be stored") >= 1


def test_rows_are_made_while_the_database_fails(database, broken, monkeypatch):
    monkeypatch.setattr(writer, "_RETRY", 0.05)
    monkeypatch.setattr(writer, "_GROUP", 10)
    entries, rows = [entry() for _ in range(100)], []
    made = Writer(database, Described(lambda item: rows.append(item) or item, lambda item: item.usage, lambda item: 1000))
    broken += [False] * 10_000
    for one in entries:
        made.add(one)
    made.start()
    end = time.monotonic() + 20
    while len(rows) < 100:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert made.waits(lambda item: False, lambda one: one is entries[99])
    assert stored(database)[0] == 0
    broken.clear()
    assert made.flush(20)
    made.stop()
    assert rows == entries
    assert stored(database) == (100, 100, (100, 100, 1000, 0))
    assert not made.waits(lambda item: True, lambda one: True)


def test_a_repeated_request_is_written_and_counted_once(database, writing):
    def keyed(answers=2):
        one = entry(answers=answers)
        one.request["idempotency"] = "the same"
        return one

    first = keyed()
    again = keyed()
    again.request["id"] = first.request["id"]
    again.answers = first.answers
    for one in (first, again, keyed()):
        writing.add(one)
        assert writing.flush()
    for one in (keyed(), entry()):  # in one group
        writing.add(one)
    assert writing.flush()
    assert stored(database) == (2, 3, (2, 3, 30, 0))
    assert writing.dropped == 0


def test_usage_is_counted_while_the_rows_are_given_up(database, broken, monkeypatch):
    monkeypatch.setattr(writer, "INTERVAL", 0.01)
    monkeypatch.setattr(writer, "_RETRY", 0.02)
    monkeypatch.setattr(writer, "_CAPACITY", 500_000)
    monkeypatch.setattr(writer, "_GROUP", 100)
    made = Writer(database, DESCRIBED)
    broken += [False, True, False, True] * 3
    made.start()
    for _ in range(3000):
        made.add(entry())
    assert len(made._waiting) <= 500
    assert made.flush(20)
    made.stop()
    requests, answers, used = stored(database)
    assert used == (3000, 3000, 30_000, 0)
    assert requests == answers == 3000 - made.dropped
    assert made.dropped > 0
    with database.reading() as connection:
        assert connection.scalars(select(schema.revisions.c.name)).all() == ["keys"], "the writer leaves nothing behind"


def test_a_lock_of_another_process_only_delays(tmp_path, monkeypatch):
    monkeypatch.setattr("vertune.store.database.BUSY_TIMEOUT", 0.05)
    monkeypatch.setattr(writer, "INTERVAL", 0.01)
    monkeypatch.setattr(writer, "_RETRY", 0.05)
    database = writer.Database(tmp_path / "server.db")
    made = Writer(database, DESCRIBED)
    made.start()
    other = sqlite3.connect(tmp_path / "server.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(50):
        made.add(entry())
    time.sleep(0.3)
    assert "locked by another process" in made.failure
    assert stored(database)[0] == 0
    other.execute("ROLLBACK")
    other.close()
    assert made.flush()
    assert made.failure == ""
    made.stop()
    assert stored(database) == (50, 50, (50, 50, 500, 0))


def test_old_requests_are_deleted_in_steps_and_usage_stays(database):
    now = time.time()
    old = [entry(id=first_id_at(now - 3 * 86_400 + place)[:12] + time_ordered_id()[12:]) for place in range(_STEP + 10)]
    new = [entry() for _ in range(5)]
    with database.writing() as connection:
        write(connection, [*old, *new])
    retention = Retention(database, days=2, megabytes=1000)
    assert retention.step()
    assert stored(database)[:2] == (15, 15)
    assert not retention.step()
    assert stored(database) == (5, 5, (_STEP + 15, _STEP + 15, 10 * (_STEP + 15), 0))
    assert not retention.step()


def test_a_database_that_is_too_large_loses_its_oldest_requests(tmp_path):
    database = writer.Database(tmp_path / "server.db")
    entries = [entry(text="a" * 1000) for _ in range(3 * _STEP)]
    with database.writing() as connection:
        write(connection, entries)
    limit = 5.0
    retention = Retention(database, days=2, megabytes=limit)
    steps = 0
    while retention.step():
        steps += 1
    with database.reading() as connection:
        left = set(connection.scalars(select(schema.requests.c.id)))
        assert size(connection) <= limit * 1e6 + 100_000
    assert sorted(left) == sorted(one.request["id"] for one in entries)[-len(left) :]
    assert 0 < len(left) < len(entries)
    assert steps
    assert (tmp_path / "server.db").stat().st_size < 1.1 * limit * 1e6  # what is free went back to the disk


def test_feedback_does_not_push_out_all_requests(tmp_path, monkeypatch):
    """Feedback stays until somebody deletes it, so without this a customer that gives much of it would leave others nothing."""
    monkeypatch.setattr("vertune.store.retention._STEP", 200)
    database = writer.Database(tmp_path / "server.db")
    entries = [entry(text="a" * 1000) for _ in range(3 * _STEP)]
    about = {"at": "", "customer": "bank", "vertical": "intent", "comment": "c" * 10_000, "trust": 1.0, "digest": b""}
    with database.writing() as connection:
        write(connection, entries)
        connection.execute(schema.feedback.insert(), [{"id": time_ordered_id(), **about} for _ in range(1000)])
    retention = Retention(database, days=2, megabytes=8.0)
    while retention.step():
        pass
    left = stored(database)[0]
    with database.reading() as connection:
        assert size(connection) > 8e6, "feedback alone is larger"
        assert 2e6 < size_of_requests(connection) <= 4e6
    assert 0 < left < len(entries)
    later = Retention(database, days=2, megabytes=8.0)
    assert not later.step()
    assert stored(database)[0] == left


@pytest.mark.parametrize("text", ["a" * 500, "猫" * 500])
def test_the_size_of_the_feedback_of_a_customer(database, text):
    about = {"at": "", "vertical": "intent", "trust": 1.0, "digest": b""}
    rows = [
        {"customer": "bank", "comment": text}, {"customer": "bank", "record": text, "target": text}, {"customer": "shop", "comment": text},
    ]  # fmt: skip
    with database.writing() as connection:
        for row in rows:
            connection.execute(schema.feedback.insert().values(id=time_ordered_id(), **about, **row))
    with database.reading() as connection:
        assert feedback.size(connection, "bank") == 2 * feedback.ROW + 3 * len(text.encode())
        assert feedback.size(connection, "nobody") == 0


def test_the_size_is_that_of_the_rows_and_shrinks_with_them(database):
    with database.writing() as connection:
        write(connection, [entry(text="a" * 500) for _ in range(2000)])
    sizes = []
    for _ in range(2):
        if database.file is None:
            with database.writing() as connection:
                connection.exec_driver_sql("ANALYZE")
        with database.reading() as connection:
            sizes.append(size(connection))
        with database.writing() as connection:
            for table in (schema.answers, schema.requests):
                connection.execute(table.delete())
    assert 2000 * 700 < sizes[0] < 2000 * 4000
    assert sizes[1] < sizes[0] / 4
