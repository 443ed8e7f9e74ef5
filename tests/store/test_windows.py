"""Stretches of traffic with the feedback on it, in both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from vertune.core.ids import first_id_of
from vertune.store import schema, windows
from vertune.store.database import Database
from vertune.store.traffic import failed_verticals
from vertune.store.windows import Stretch

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def id_at(at: datetime, place: int) -> str:
    return f"{first_id_of(at)[:12]}7{place:019x}"


def fill(database: Database, times: list[datetime], **about) -> list[str]:
    """Store a request with one answer for each time; `failed` ones have no answer."""
    about = {"vertical": "v", "model": "m", "failed": None, "status": 200, **about}
    ids = [id_at(at, place) for place, at in enumerate(times)]
    requests = [
        {"id": id, "at": "", "customer": "a", "resource": "predict", "status": about["status"], "seconds": 0.5, "records": 1, "tokens": 1,
         "cached_tokens": 0, "failed": about["failed"]} for id in ids
    ]  # fmt: skip
    answers = [
        {"request": id, "number": 0, "vertical": about["vertical"], "model": about["model"], "record": f'{{"text": "{place}"}}',
         "answer": '{"label": "a"}', "confidence": 0.25} for place, id in enumerate(ids)
    ]  # fmt: skip
    with database.writing() as connection:
        connection.execute(schema.requests.insert(), requests)
        if about["failed"] is None:
            connection.execute(schema.answers.insert(), answers)
    return ids


def say(database: Database, request: str, number: int, **said) -> None:
    about = {"customer": "a", "vertical": "v", "model": "m", "number": 0, "trust": 1.0, "digest": b""}
    row = {"id": id_at(BEGIN + 50 * HOUR, number), "at": "", "request": request, **about, **said}
    with database.writing() as connection:
        connection.execute(schema.feedback.insert(), [row])


STRETCH = Stretch.between("v", BEGIN, BEGIN + 40 * HOUR, "m")


def test_last_rows_have_the_last_that_was_said_and_failed_requests(database: Database) -> None:
    ids = fill(database, [BEGIN + minutes * timedelta(minutes=1) for minutes in range(10)])
    fill(database, [BEGIN + timedelta(minutes=7, seconds=1)], status=500, failed=failed_verticals(["w", "v"]))
    fill(database, [BEGIN + timedelta(minutes=7, seconds=2)], status=500, failed=failed_verticals(["other"]))
    fill(database, [BEGIN + timedelta(minutes=7, seconds=3)], status=422, failed=failed_verticals(["v"]))
    fill(database, [BEGIN + timedelta(minutes=7, seconds=4)], model="candidate")
    say(database, ids[9], 1, verdict="wrong")
    say(database, ids[9], 2, verdict="right")
    say(database, ids[8], 3, target='{"label": "b"}')
    with database.reading() as connection:
        found = windows.last_rows(connection, STRETCH, 4)
    assert [row.answer is None for row in found] == [False, False, True, False, False]
    assert [row.verdict for row in found] == [None, None, None, None, "right"]
    assert found[3].target == {"label": "b"}
    assert found[4].record == {"text": "9"}
    assert (found[0].at, found[0].seconds, found[0].confidence) == ((BEGIN + timedelta(minutes=6)).timestamp(), 0.5, 0.25)


def test_a_sample_is_of_all_hours(database: Database) -> None:
    fill(database, [BEGIN + 2 * HOUR + seconds * timedelta(seconds=1) for seconds in range(300)])
    fill(database, [BEGIN + 5 * HOUR + seconds * timedelta(seconds=1) for seconds in range(100)])
    with database.reading() as connection:
        hours = windows.counts_by_hour(connection, STRETCH)
        found = windows.sampled_rows(connection, STRETCH, 40)
        everything = windows.sampled_rows(connection, STRETCH, 1000)
    begin = (BEGIN + 2 * HOUR).timestamp()
    assert hours == [(begin, 300), (begin + 3600, 0), (begin + 7200, 0), (begin + 10_800, 100)]
    assert sum(row.at < begin + 3600 for row in found) == 30
    assert len(found) in {40, 41, 42}
    assert len(everything) == 400


@pytest.mark.parametrize(
    ("read", "number"), [(windows.first_rows, 200), (windows.first_rows, 500), (windows.sampled_rows, 40), (windows.sampled_rows, 500)]
)
def test_failed_requests_are_among_the_others_in_every_stretch(database: Database, read, number) -> None:
    fill(database, [BEGIN + 2 * HOUR + seconds * timedelta(seconds=1) for seconds in range(400)])
    failed = [BEGIN + 2 * HOUR + timedelta(seconds=seconds + 0.5) for seconds in range(0, 400, 4)]
    fill(database, failed, status=500, failed=failed_verticals(["v"]))
    with database.reading() as connection:
        found = read(connection, STRETCH, number)
    assert sum(row.answer is None for row in found) / len(found) == pytest.approx(0.2, abs=0.01)
    assert [row.request for row in found] == sorted(row.request for row in found)


def test_rows_with_feedback_are_found_however_old(database: Database) -> None:
    ids = fill(database, [BEGIN + number * HOUR for number in range(30)])
    for place in (20, 3, 11):
        say(database, ids[place], place, verdict="right")
    with database.reading() as connection:
        assert [row.request for row in windows.labelled_rows(connection, STRETCH, 10)] == [ids[3], ids[11], ids[20]]
        assert [row.request for row in windows.labelled_rows(connection, STRETCH, 2)] == [ids[11], ids[20]]
        assert [row.request for row in windows.first_rows(connection, STRETCH, 2)] == ids[:2]


@pytest.mark.parametrize("read", [windows.last_rows, windows.sampled_rows, windows.labelled_rows, windows.first_rows])
def test_nothing_is_found_where_there_is_nothing(database: Database, read) -> None:
    with database.reading() as connection:
        assert read(connection, STRETCH, 5) == []
        assert windows.counts_by_hour(connection, STRETCH) == []
