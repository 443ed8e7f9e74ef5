"""Answers over time: counted where there are few, estimated where there are many, in both databases."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from vertune.core.ids import first_id_of
from vertune.store import schema, series
from vertune.store.database import Database
from vertune.store.series import read_series, window_of

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def fill(database: Database, times: list[datetime], customer: str = "a", vertical: str = "v", number: int = 0) -> None:
    ids = [f"{first_id_of(at)[:12]}7{place:019x}" for place, at in enumerate(times, number)]
    requests = [
        {"id": id, "at": "", "customer": customer, "resource": "predict", "status": 200, "seconds": 0.5, "records": 1, "tokens": 1,
         "cached_tokens": 0} for id in ids
    ]  # fmt: skip
    answers = [{"request": id, "number": 0, "vertical": vertical, "model": "m", "answer": "{}", "confidence": 0.25} for id in ids]
    with database.writing() as connection:
        connection.execute(schema.requests.insert(), requests)
        connection.execute(schema.answers.insert(), answers)


def window(customer: str | None = None, hours: int = 3):
    return window_of("v", BEGIN, BEGIN + hours * HOUR, HOUR, customer)


@pytest.mark.parametrize(("customer", "counts"), [(None, [7, 0, 2]), ("a", [4, 0, 2]), ("b", [3, 0, 0]), ("c", [0, 0, 0])])
def test_few_answers_are_counted_for_those_who_may_see_them(database: Database, customer, counts) -> None:
    fill(database, [BEGIN + timedelta(minutes=minutes) for minutes in (0, 5, 20, 59, 121, 179)])
    fill(database, [BEGIN + timedelta(minutes=minutes) for minutes in (1, 2, 3)], "b", number=100)
    fill(database, [BEGIN + timedelta(minutes=4), BEGIN - timedelta(minutes=1), BEGIN + 3 * HOUR], "c", "other", number=200)
    with database.reading() as connection:
        found = read_series(connection, window(customer))
    assert [step.answers for step in found.steps] == counts
    assert all(step.exact for step in found.steps)
    assert [len(step.sample) for step in found.steps] == counts
    assert {second for step in found.steps for second in step.seconds} <= {0.5}
    assert [step.at for step in found.steps] == [f"2030-01-01T0{hour}:00:00.000000+00:00" for hour in range(3)]


@pytest.mark.parametrize("customer", [None, "a"])
def test_many_answers_are_estimated_from_those_that_were_counted(database: Database, monkeypatch, customer) -> None:
    monkeypatch.setattr(series, "_COUNTED", 60)
    monkeypatch.setattr(series, "_COUNTED_OF_CUSTOMER", 60)
    draw = random.Random(0)
    fill(database, sorted(BEGIN + draw.random() * HOUR for _ in range(8000)))
    fill(database, [BEGIN + 2 * HOUR + timedelta(seconds=second) for second in range(50)], number=9000)
    with database.reading() as connection:
        found = read_series(connection, window(customer)).steps
    assert found[0].answers == pytest.approx(8000, rel=0.1)
    assert not found[0].exact
    assert (found[1].answers, found[1].exact) == (0, True)
    assert (found[2].answers, found[2].exact) == (50, True), "more than are read, and fewer than are counted"
    assert len(found[0].sample) == 16 * series._READ


def test_verdicts_are_counted_in_their_steps_and_the_last_ones_alone_if_there_are_too_many(database: Database, monkeypatch) -> None:
    monkeypatch.setattr(series, "_FEEDBACK", 5)
    rows = [
        {"id": f"{first_id_of(BEGIN + minutes * timedelta(minutes=1))[:12]}7{minutes:019x}", "at": "", "customer": customer,
         "vertical": vertical, "verdict": verdict, "trust": 1.0, "digest": b""}
        for minutes, customer, vertical, verdict in [
            (1, "a", "v", "right"), (2, "b", "v", "wrong"), (3, "a", "other", "wrong"), (61, "a", "v", None), (62, "a", "v", "wrong"),
            (200, "a", "v", "right"),
        ]
    ]  # fmt: skip
    with database.writing() as connection:
        connection.execute(schema.feedback.insert(), rows)
    with database.reading() as connection:
        found = read_series(connection, window())
        assert [(step.right, step.wrong) for step in found.steps] == [(1, 1), (0, 1), (0, 0)]
        assert found.feedback_complete
        assert [(step.right, step.wrong) for step in read_series(connection, window("a")).steps] == [(1, 0), (0, 1), (0, 0)]
        monkeypatch.setattr(series, "_FEEDBACK", 2)
        last = read_series(connection, window())
    assert [(step.right, step.wrong) for step in last.steps] == [(0, 0), (0, 1), (0, 0)]
    assert not last.feedback_complete


def test_steps_begin_at_whole_multiples_of_their_length() -> None:
    found = window_of("v", BEGIN + timedelta(minutes=30), BEGIN + timedelta(hours=2, minutes=1), HOUR, None)
    assert (found.since, found.steps) == (BEGIN, 3)
