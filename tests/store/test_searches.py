"""How SQLite searches the tables that grow: by an index that has the wanted order, so that the time of a page does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy

from vertune.store import deletion, feedback, rollouts, traffic, usage
from vertune.store.database import FILE, Database
from vertune.store.deletion import Deletion
from vertune.store.feedback import Filter
from vertune.store.rollouts import Rollout, Rules

Plans = Callable[[], list[str]]
PAGES = [
    ("(id>?)", Filter(after="1")),
    ("feedback_by_customer (customer=? AND id>?)", Filter("bank", after="1")),
    ("feedback_by_vertical (vertical=? AND id>? AND id<?)", Filter(None, ["intent"], after="1", before="2")),
    ("feedback_usable (vertical=? AND id>?)", Filter(None, ["intent"], after="1", usable=True)),
    ("feedback_by_customer_and_vertical (customer=? AND vertical=? AND id>?)", Filter("bank", ["intent"], "wrong", after="1")),
    ("feedback_by_customer_and_vertical (customer=? AND vertical=? AND id>?)", Filter("bank", ["intent"], after="1", usable=True)),
    ("feedback_by_author (author=? AND id>?)", Filter("bank", author="a person", after="1")),
    ("feedback_by_author (author=? AND id>?)", Filter("bank", ["intent"], author="a person", after="1", usable=True)),
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / FILE)) as database:
        yield database


@contextmanager
def plans_of(database: Database) -> Iterator[Plans]:
    """A function that returns how SQLite searches for each of the queries and deletions of the `with` block."""
    asked: list[tuple[str, tuple]] = []

    def note(connection, cursor, statement, values, context, many) -> None:
        if statement.startswith(("SELECT", "DELETE")):
            asked.append((statement, values))

    def plans() -> list[str]:
        with database.reading() as connection:
            steps = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", values).all() for one, values in asked]
        return ["; ".join(row[3] for row in rows) for rows in steps]

    sqlalchemy.event.listen(database._engine, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        sqlalchemy.event.remove(database._engine, "before_cursor_execute", note)


@pytest.mark.parametrize(("expected", "wanted"), PAGES)
def test_a_page_of_feedback_is_read_in_the_order_of_an_index(database: Database, expected: str, wanted: Filter) -> None:
    with plans_of(database) as plans, database.reading() as connection:
        feedback.find(connection, wanted, 100)
    (plan,) = plans()
    assert plan.endswith(expected)
    assert plan.startswith("SEARCH feedback")


def test_feedback_on_several_verticals_is_not_sorted_in_whole(database: Database) -> None:
    with plans_of(database) as plans, database.reading() as connection:
        feedback.find(connection, Filter("bank", ["intent", "mood"], after="1"), 100)
    (plan,) = plans()
    steps = plan.split("; ")
    searches = [place for place, step in enumerate(steps) if step.endswith("(customer=? AND vertical=? AND id>?)")]
    assert len(searches) == 2
    assert all(steps[place + 1].startswith("SCAN") for place in searches), "what is found is sorted only where it is merged"


def test_answers_usage_and_verdicts_are_found_by_an_index(database: Database) -> None:
    rollout = Rollout("intent", "m", "n", "canary", 0.1, Rules(), began="", first="1", actor="")
    with plans_of(database) as plans, database.reading() as connection:
        traffic.find_answer(connection, f"{'0' * 32}-0")
        usage.used(connection, usage.Period("bank", date(2030, 1, 1), date(2030, 2, 1)), ["day"])
        usage.used(connection, usage.Period(None, date(2030, 1, 1), date(2030, 2, 1)), ["day"])
        rollouts.verdicts(connection, rollout)
    answer, one, everybody, verdicts = plans()
    assert answer.count("SEARCH") == 2
    assert "SCAN" not in answer
    assert "(customer=? AND day>? AND day<?)" in one
    assert "(day>? AND day<?)" in everybody
    assert "feedback_by_vertical (vertical=? AND id>?)" in verdicts


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Deletion(customer="bank"), "requests_by_customer (customer=? AND id>?)"), (Deletion(key="k1"), "requests_by_key (key=? AND id>?)"),
        (Deletion(vertical="intent"), "answers_by_vertical (vertical=? AND request>?)"),
        (Deletion(records=[{"text": "a text"}]), "answers_by_fingerprint (fingerprint=?)"),
    ],
)  # fmt: skip
def test_a_deletion_searches_after_the_last_id(database: Database, wanted: Deletion, expected: str) -> None:
    with plans_of(database) as plans:
        deletion.carry_out(database, wanted, "k0")
    assert any(expected in plan for plan in plans())


def test_feedback_about_the_answers_to_a_key_is_found_by_their_ids(database: Database) -> None:
    from vertune.store.traffic import Entry, write

    request = {
        "id": "1" * 32, "at": "", "customer": "bank", "key": "k1", "resource": "predict", "status": 200, "seconds": 0.0, "records": 1,
        "tokens": 1, "cached_tokens": 0,
    }  # fmt: skip
    with database.writing() as connection:
        write(connection, [Entry(request)])
    with plans_of(database) as plans:
        deletion.carry_out(database, Deletion(key="k1", customer="bank"), "k0")
    assert any("feedback_by_answer (request=?)" in plan for plan in plans())
    assert not any("feedback_by_idempotency" in plan for plan in plans())
