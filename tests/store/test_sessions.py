"""Sessions: cookies of which only hashes are stored, ends that hold in every process within half a second, and few queries."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy

from vertune.core.errors import AccessError, StorageError
from vertune.store import cached, schema, users
from vertune.store.sessions import KEY, Sessions
from vertune.store.user import User
from vertune.store.users import Change

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test moves by `clock[0] += …`."""
    now = [START]
    monkeypatch.setattr("vertune.store.sessions.utc_now", lambda: now[0])
    return now


@pytest.fixture
def sessions(database):
    made = Sessions(database)
    yield made
    made.close()


@pytest.fixture
def other(opened, sessions):
    """The same database as another server has it."""
    made = Sessions(opened())
    yield made
    made.close()


@pytest.fixture
def ann(sessions) -> User:
    user = User("id of ann", "ann", "annotator", "bank", "2030-01-01T00:00:00+00:00")
    with sessions.changing() as connection:
        users.add(connection, user, "hash", "tests")
    return user


def begin(sessions, owner="id of ann", previous=None):
    with sessions.changing() as connection:
        return sessions.begin(connection, owner, "user:ann", previous)


def refusal(sessions, cookie) -> float:
    """Check a cookie until it is refused; the seconds until then."""
    start = time.monotonic()
    while time.monotonic() < start + 10:
        try:
            sessions.check(cookie)
        except AccessError:
            return time.monotonic() - start
    raise AssertionError("the session goes on")


def test_a_session_is_found_by_its_cookie(sessions, other, ann, clock) -> None:
    cookie, session = begin(sessions)
    assert len(base64.urlsafe_b64decode(cookie + "=")) == 32
    for one in (sessions, other):
        found = one.check(cookie)
        assert (found.id, found.user, found.key, found.token) == (session.id, ann, None, session.token)
        assert (found.created, found.expires) == (START, START + timedelta(days=7))


@pytest.mark.parametrize("change", ["", "x", "A", "\udc80", "\x00" * 9])
def test_no_other_cookie_is_accepted(sessions, ann, change) -> None:
    cookie, _ = begin(sessions)
    for wrong in (change, cookie + change or "?", cookie[:-1] + change, change + cookie[1:]):
        if wrong != cookie:
            with pytest.raises(AccessError, match="Sign in again") as refused:
                sessions.check(wrong)
            assert refused.value.http_status == 401


def test_the_database_contains_no_cookie(sessions, ann, database) -> None:
    cookie, _ = begin(sessions)
    with database.reading() as connection:
        for table in schema.metadata.sorted_tables:
            assert cookie not in repr(connection.execute(table.select()).all()), table.name


def test_a_session_of_a_key(sessions) -> None:
    cookie, _ = begin(sessions, KEY + "0123456789ab")
    found = sessions.check(cookie)
    assert (found.key, found.user) == ("0123456789ab", None)


def test_signing_in_ends_what_the_browser_had(sessions, ann) -> None:
    first, _ = begin(sessions)
    second, _ = begin(sessions, previous=first)
    assert sessions.check(second)
    with pytest.raises(AccessError):
        sessions.check(first)


def test_a_session_that_is_not_used_ends(sessions, other, ann, clock) -> None:
    cookie, _ = begin(sessions)
    for _ in range(3):
        clock[0] += 7 * HOUR
        sessions.check(cookie)
    with pytest.raises(AccessError):  # the other server has not heard of it yet
        other.check(cookie)
    sessions.write_seen()
    other._read_at = -float("inf")
    other._current_at = -float("inf")
    assert other.check(cookie)
    clock[0] += 8 * HOUR
    with pytest.raises(AccessError):
        sessions.check(cookie)


def test_a_session_ends_however_much_it_is_used(sessions, ann, clock) -> None:
    cookie, _ = begin(sessions)
    for _ in range(7 * 24 - 1):
        clock[0] += HOUR
        sessions.check(cookie)
    clock[0] += HOUR
    with pytest.raises(AccessError):
        sessions.check(cookie)


def test_a_cookie_is_renewed_and_the_previous_one_goes_on_for_a_minute(sessions, other, ann, clock) -> None:
    first, session = begin(sessions)
    assert sessions.renew(session) is None
    clock[0] += HOUR
    found = sessions.check(first)
    second = sessions.renew(found)
    assert second not in (None, first)
    assert sessions.renew(found) is None, "another request at the same time gets none"
    assert sessions.renew(other.check(first)) is None
    new = other.check(second)
    assert (new.token, new.expires, new.created) == (session.token, session.expires, clock[0])
    assert other.check(first)
    clock[0] += timedelta(minutes=1)
    with pytest.raises(AccessError):
        sessions.check(first)
    assert sessions.check(second)


def test_signing_out_ends_the_renewed_cookie_too(sessions, ann, clock) -> None:
    first, _ = begin(sessions)
    elsewhere, _ = begin(sessions)
    clock[0] += HOUR
    found = sessions.check(first)
    second = sessions.renew(found)
    sessions.end(found)
    for cookie in (first, second):
        with pytest.raises(AccessError):
            sessions.check(cookie)
    assert sessions.check(elsewhere)


def test_what_another_server_ends_is_refused_within_the_delay(sessions, other, ann) -> None:
    cookies = [begin(sessions)[0] for _ in range(3)]
    for watching in (False, True):
        if watching:
            other.watch()
        other.check(cookies[watching])
        sessions.end(sessions.check(cookies[watching]))
        assert refusal(other, cookies[watching]) < cached.REVOCATION_DELAY + 0.2
    other.check(cookies[2])
    with sessions.changing() as connection:
        users.change(connection, ann, Change(disabled=True), "admin")
    assert refusal(other, cookies[2]) < cached.REVOCATION_DELAY + 0.2
    with pytest.raises(AccessError):
        sessions.check(cookies[2])


def test_a_session_that_another_server_began_works_at_once(sessions, other, ann) -> None:
    first, _ = begin(sessions)
    other.check(first)
    second, _ = begin(sessions)
    assert other.check(second)


def test_checks_need_hardly_a_query(sessions, ann) -> None:
    cookie, _ = begin(sessions)
    queries = []
    sqlalchemy.event.listen(sessions.database._engine, "begin", queries.append)
    start = time.monotonic()
    for _ in range(1000):
        sessions.check(cookie)
    assert len(queries) <= 1 + (time.monotonic() - start) / cached.REVOCATION_DELAY


def test_sessions_do_not_grow_without_end(sessions, ann, clock, database, monkeypatch) -> None:
    monkeypatch.setattr("vertune.store.sessions._MOST", 3)
    cookies = []
    for _ in range(5):
        clock[0] += timedelta(seconds=1)
        cookies.append(begin(sessions)[0])
    for cookie in cookies[:2]:
        with pytest.raises(AccessError):
            sessions.check(cookie)
    assert all(sessions.check(cookie) for cookie in cookies[2:])
    clock[0] += 9 * HOUR
    begin(sessions)
    with database.reading() as connection:
        assert len(connection.execute(schema.sessions.select()).all()) == 1


def test_use_is_written_now_and_then_without_a_revision(sessions, ann, clock, database) -> None:
    cookie, _ = begin(sessions)
    with database.reading() as connection:
        before = connection.execute(schema.revisions.select()).all()
    clock[0] += HOUR
    sessions.check(cookie)
    sessions._next_write = 0.0
    sessions._tend()
    with database.reading() as connection:
        assert connection.execute(schema.revisions.select()).all() == before
        (row,) = connection.execute(schema.sessions.select()).all()
    assert row.seen == "2030-01-01T01:00:00.000000+00:00"


def test_a_session_that_can_not_be_read_lets_nobody_in(sessions, ann, database) -> None:
    cookie, _ = begin(sessions)
    with sessions.changing() as connection:
        connection.execute(schema.sessions.update().values(created="yesterday"))
        with pytest.raises(StorageError, match="a session that can't be read"):
            sessions._read(connection)
        connection.execute(schema.sessions.update().values(created="2030-01-01T00:00:00+00:00"))
    assert sessions.check(cookie)


def test_a_role_that_this_version_does_not_know_lets_nobody_in(sessions, ann) -> None:
    cookie, _ = begin(sessions)
    with sessions.changing() as connection:
        connection.execute(schema.users.update().values(role="emperor"))
    with pytest.raises(AccessError):
        sessions.check(cookie)
