"""Deletions: what they take and leave, what the audit says of them; and sums of usage."""

import time
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event, func, select

from vertune.core.errors import AccessError, ConfigError
from vertune.core.ids import first_id_at, time_ordered_id
from vertune.store import deletion, schema, users
from vertune.store.audit import entries
from vertune.store.database import format_time
from vertune.store.deletion import Deletion, carry_out
from vertune.store.sessions import Sessions
from vertune.store.traffic import Entry, Used, fingerprint, fingerprint_key, write
from vertune.store.usage import Period, used
from vertune.store.user import User

NOW = time.time()
TEXT = "a text of a person"


def entry(database, customer="bank", key="k1", verticals=("intent",), text="other", age=0):
    id = first_id_at(NOW - age * 86_400)[:12] + time_ordered_id()[12:]
    mark = fingerprint({"text": text}, fingerprint_key(database))
    at = datetime.fromtimestamp(NOW - age * 86_400, UTC)
    request = {
        "id": id, "at": format_time(at), "customer": customer, "key": key, "resource": "predict", "status": 200,
        "seconds": 0.01, "records": 1, "tokens": 5, "cached_tokens": 0,
    }  # fmt: skip
    answers = [
        {
            "request": id, "number": place, "vertical": name, "model": "m", "record": None, "fingerprint": mark, "answer": "{}",
            "confidence": None,
        }
        for place, name in enumerate(verticals)
    ]  # fmt: skip
    return Entry(request, answers, {Used(f"{at:%Y-%m-%d}", customer, key, name): (1, 1, 5, 2) for name in verticals})


def said(database, customer="bank", key="k1", vertical="intent", text="other", age=0):
    return {
        "id": first_id_at(NOW - age * 86_400)[:12] + time_ordered_id()[12:], "at": "", "customer": customer, "key": key,
        "vertical": vertical, "trust": 1.0, "digest": b"", "fingerprint": fingerprint({"text": text}, fingerprint_key(database)),
    }  # fmt: skip


@pytest.fixture
def filled(database):
    """Six requests with seven answers, and three feedbacks."""
    with database.writing() as connection:
        write(
            connection,
            [
                entry(database), entry(database, verticals=("intent", "mood"), text=TEXT), entry(database, text=TEXT, age=5),
                entry(database, key="k2"), entry(database, customer="shop", key="k3", text=TEXT), entry(database, age=10),
            ],
        )  # fmt: skip
        rows = [said(database), said(database, customer="shop", key="k3", text=TEXT), said(database, vertical="mood", age=7)]
        connection.execute(schema.feedback.insert(), rows)
    return database


def left(database):
    with database.reading() as connection:
        return tuple(
            connection.scalar(select(func.count()).select_from(table)) for table in (schema.answers, schema.requests, schema.feedback)
        )


@pytest.mark.parametrize(
    ("wanted", "deleted"),
    [
        ({"records": [{"text": TEXT}]}, (4, 0, 1)), ({"records": [{"question": TEXT}]}, (4, 0, 1)),
        ({"records": [{"text": TEXT.upper()}]}, (0, 0, 0)), ({"records": [{"text": TEXT}], "customer": "bank"}, (3, 0, 0)),
        ({"vertical": "mood"}, (1, 0, 1)),
        ({"vertical": "mood", "feedback": False}, (1, 0, 0)), ({"key": "k1"}, (5, 4, 2)), ({"customer": "shop"}, (1, 1, 1)),
        ({"customer": "nobody"}, (0, 0, 0)), ({"before": datetime.fromtimestamp(NOW, UTC) - timedelta(days=4)}, (2, 2, 1)),
        ({"key": "k1", "before": datetime.fromtimestamp(NOW, UTC) - timedelta(days=8)}, (1, 1, 0)),
    ],
)  # fmt: skip
def test_what_a_deletion_takes_and_leaves(filled, wanted, deleted):
    before = left(filled)
    found = carry_out(filled, Deletion(**wanted), "k0")
    assert tuple(found.values()) == deleted
    assert left(filled) == tuple(one - gone for one, gone in zip(before, deleted, strict=True))
    with filled.reading() as connection:
        (noted,) = entries(connection)
        assert sum(row.requests for row in used(connection, Period(), ["customer"])) == 7, "usage stays"
    assert (noted.actor, noted.action) == ("k0", "delete")
    assert noted.details.items() >= found.items()
    assert TEXT not in str(noted)
    assert carry_out(filled, Deletion(**wanted), "k0") == {"answers": 0, "requests": 0, "feedback": 0}


def test_a_deletion_without_a_condition_is_refused(filled):
    before = left(filled)
    with pytest.raises(ConfigError, match="No condition names"):
        carry_out(filled, Deletion(), "k0")
    assert left(filled) == before


def test_a_large_deletion_goes_in_steps(filled, monkeypatch):
    monkeypatch.setattr(deletion, "_STEP", 2)
    assert carry_out(filled, Deletion(customer="bank"), "k0") == {"answers": 6, "requests": 5, "feedback": 2}
    assert left(filled) == (1, 1, 1)


@pytest.mark.parametrize("wanted", [{"customer": "bank"}, {"key": "k1", "customer": "bank"}, {"vertical": "intent"}])
def test_rows_are_found_without_the_lock_that_writers_need(filled, monkeypatch, wanted):
    monkeypatch.setattr(deletion, "_STEP", 2)
    monkeypatch.setattr(deletion, "_PAUSE", 0)
    statements = []
    event.listen(filled._engine, "before_cursor_execute", lambda connection, _, statement, *__: statements.append((connection, statement)))
    carry_out(filled, Deletion(**wanted), "k0")
    deleting = {id(connection) for connection, statement in statements if statement.startswith("DELETE")}
    assert len(deleting) > 2
    assert not [one for connection, one in statements if one.startswith("SELECT") and id(connection) in deleting]


def test_usage_is_divided_as_asked(filled):
    today = datetime.fromtimestamp(NOW, UTC).date()
    with filled.reading() as connection:
        (all_of_it,) = used(connection, Period(), [])
        assert (all_of_it.requests, all_of_it.tokens, all_of_it.cached_tokens, all_of_it.customer) == (7, 35, 14, "")
        assert [(row.customer, row.vertical, row.requests) for row in used(connection, Period(), ["customer", "vertical"])] == [
            ("bank", "intent", 5), ("bank", "mood", 1), ("shop", "intent", 1),
        ]  # fmt: skip
        assert [(row.key, row.requests) for row in used(connection, Period("bank"), ["key"])] == [("k1", 5), ("k2", 1)]
        recent = used(connection, Period("bank", since=today - timedelta(days=6)), ["day"])
        assert [row.requests for row in recent] == [1, 4]
        assert [row.requests for row in used(connection, Period(until=today - timedelta(days=6)), ["customer"])] == [1]
        assert used(connection, Period(since=date(2999, 1, 1)), ["day"]) == []


def test_entries_of_the_audit_come_in_pages(filled):
    for number in range(3):
        carry_out(filled, Deletion(customer=f"nobody {number}"), "k0")
    with filled.reading() as connection:
        first = entries(connection, limit=2)
        rest = entries(connection, first[-1].id, limit=2)
    assert [one.details["customer"] for one in [*first, *rest]] == [f"nobody {number}" for number in range(3)]


@pytest.mark.parametrize(
    "narrowed", [{"vertical": "intent"}, {"key": "k1"}, {"before": datetime.now(UTC)}, {"records": [{"text": TEXT}]}, {}]
)
def test_a_whole_customer_goes_with_its_users_and_their_sessions(filled, narrowed):
    sessions = Sessions(filled)
    with sessions.changing() as connection:
        for name, customer in (("ann", "bank"), ("bob", "bank"), ("sam", "shop")):
            users.add(connection, User(name, name, "annotator", customer, "2030-01-01T00:00:00+00:00"), "$hash", "tests")
        cookies = {name: sessions.begin(connection, name, f"user:{name}")[0] for name in ("ann", "sam")}
    deleted = carry_out(filled, Deletion(customer="bank", **narrowed), "k0")
    assert deleted.get("users") == (None if narrowed else 2)
    sessions._current_at = -float("inf")
    assert sessions.check(cookies["sam"])
    if narrowed:
        assert sessions.check(cookies["ann"])
    else:
        with pytest.raises(AccessError):
            sessions.check(cookies["ann"])
        with filled.reading() as connection:
            assert [user.name for user in users.find(connection)] == ["sam"]
            assert entries(connection, limit=100)[-1].details["users"] == 2
    assert "users" not in carry_out(filled, Deletion(customer="nobody"), "k0")
