"""Users: names in one spelling, passwords that nobody can read or time, roles, and what the audit tells of changes."""

from __future__ import annotations

import threading
import time

import pytest

from vertune.core.errors import Busy, ConfigError, Conflict, NotFound, UnknownName
from vertune.store import schema, users
from vertune.store.audit import entries
from vertune.store.key import SCOPES as ALL_SCOPES
from vertune.store.passwords import Passwords, new_password
from vertune.store.sessions import Sessions
from vertune.store.user import ROLES, SCOPES, User, checked_password, checked_role, checked_user_name, same_spelling
from vertune.store.users import Change

CHEAP = {"kibibytes": 8, "rounds": 1}
PASSWORD = "correct horse battery"


@pytest.fixture
def sessions(database):
    made = Sessions(database)
    yield made
    made.close()


def add(sessions, name="ann", role="annotator", customer="bank", password="hash", **more) -> User:
    user = User(f"id of {name}", name, role, customer, "2030-01-01T00:00:00+00:00", **more)
    with sessions.changing() as connection:
        users.add(connection, user, password, "tests")
    return user


@pytest.mark.parametrize(
    ("name", "spelt"),
    [("ann", "ann"), (" Ann ", "ann"), ("Ann.Lee@Example.com", "ann.lee@example.com"), ("李雷", "李雷"), ("Ａnn", "ann"), ("Ö", "ö")],
)
def test_a_name_has_one_spelling(name, spelt) -> None:
    assert same_spelling(name) == checked_user_name(name) == checked_user_name(spelt) == spelt


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "../etc", "@", "a@", "@b", "a@b@c", "x" * 81, "user:ann", "a\nb", "local", "Local", "0123456789ab"]
)
def test_what_is_no_name(name) -> None:
    with pytest.raises(ConfigError, match="The name of the user is"):
        checked_user_name(name)


def test_roles_have_scopes_that_exist_and_grow() -> None:
    assert set(ROLES) == set(SCOPES)
    assert all(scopes <= set(ALL_SCOPES) for scopes in SCOPES.values())
    assert SCOPES["annotator"] < SCOPES["reviewer"] < SCOPES["manager"]
    assert SCOPES["admin"] == {"admin"}
    with pytest.raises(UnknownName, match="Did you mean 'reviewer'"):
        checked_role("reviwer")


def test_the_key_of_a_user(sessions) -> None:
    key = add(sessions, role="reviewer").key
    assert (key.id, key.name, key.customer, key.scopes, key.verticals) == ("user:ann", "ann", "bank", {"label", "review", "chat"}, None)
    assert key.may("review")
    assert not key.may("train")


@pytest.mark.parametrize("password", ["short", "x" * 1025, "annannannannann", "aaaaaaaaaaaaaaaa", "abababababababab"])
def test_passwords_that_are_refused_are_not_repeated(password) -> None:
    with pytest.raises(ConfigError, match="Choose another password") as refused:
        checked_password(password, "ann")
    assert password not in str(refused.value)


def test_passwords_that_are_made() -> None:
    made = {new_password() for _ in range(50)}
    assert len(made) == 50
    assert all(checked_password(password, "ann") for password in made)


def test_a_hash_is_argon2id_and_verifies_its_password_alone() -> None:
    passwords = Passwords(**CHEAP)
    stored = passwords.hash(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert stored != passwords.hash(PASSWORD)
    assert passwords.verify(stored, PASSWORD)
    assert not any(passwords.verify(stored, wrong) for wrong in ("", PASSWORD + " ", PASSWORD.upper(), "\udc80"))
    assert passwords.verify(passwords.hash("pass wörd o\u0308 long"), "pass wo\u0308rd ö long"), "composed by another keyboard"
    for broken in ("", "plain", "$argon2id$", "$2b$12$abc"):
        assert not passwords.verify(broken, PASSWORD)


def test_the_default_costs_are_those_of_the_rfc() -> None:
    assert "$m=65536,t=3,p=1$" in Passwords().hash(PASSWORD)


def test_an_unknown_user_costs_a_verification_too() -> None:
    passwords = Passwords(kibibytes=4096, rounds=8)
    stored = passwords.hash(PASSWORD)

    def seconds(hashed) -> float:
        found = []
        for _ in range(5):
            start = time.perf_counter()
            assert not passwords.verify(hashed, "wrong wrong wrong")
            found.append(time.perf_counter() - start)
        return min(found)

    assert seconds(None) > seconds(stored) / 2
    assert not passwords.verify(None, PASSWORD)


def test_hashes_with_other_costs_are_outdated() -> None:
    old, new = Passwords(**CHEAP), Passwords(kibibytes=16, rounds=1)
    stored = old.hash(PASSWORD)
    assert not old.outdated(stored)
    assert new.outdated(stored)
    assert new.verify(stored, PASSWORD)


def test_only_a_few_attempts_wait_for_their_turn(monkeypatch) -> None:
    passwords = Passwords(**CHEAP)
    going_on, started = threading.Event(), threading.Semaphore(0)

    class Slow:
        def hash(self, password: bytes) -> str:
            started.release()
            assert going_on.wait(10)
            return ""

    monkeypatch.setattr(passwords, "_hasher", Slow())
    threads = [threading.Thread(target=passwords.hash, args=("x",)) for _ in range(10)]
    for thread in threads:
        thread.start()
    try:
        assert started.acquire(timeout=10)
        until = time.monotonic() + 10
        while passwords._queue._value:
            assert time.monotonic() < until
            time.sleep(0.001)
        with pytest.raises(Busy, match="Too many passwords"):
            passwords.hash("y")
    finally:
        going_on.set()
        for thread in threads:
            thread.join()


def test_users_are_added_and_found(sessions, database) -> None:
    add(sessions)
    add(sessions, "bob", "manager", "shop", subject="https://issuer 7")
    with database.reading() as connection:
        assert [user.name for user in users.find(connection)] == ["ann", "bob"]
        assert [user.name for user in users.find(connection, "shop")] == ["bob"]
        assert users.get(connection, " ANN").role == "annotator"
        assert users.get(connection, "ann", "bank").customer == "bank"
        assert users.of_subject(connection, "https://issuer 7").name == "bob"
        assert users.of_subject(connection, "https://other 7") is None
        assert users.credentials(connection, "ann")[1] == "hash"
        assert users.credentials(connection, "nobody") == (None, None)
        for name, customer in (("nobody", None), ("ann", "shop")):
            with pytest.raises(NotFound, match="vertune user list"):
                users.get(connection, name, customer)


def test_a_name_exists_once_over_all_customers(sessions, database) -> None:
    add(sessions)
    with pytest.raises(Conflict, match="'ann' is taken"):
        add(sessions, customer="shop")
    with database.reading() as connection:
        assert len(users.find(connection)) == 1


def test_a_change_ends_sessions_and_is_told_without_the_password(sessions, database) -> None:
    user, other = add(sessions), add(sessions, "bob")
    with sessions.changing() as connection:
        cookies = [sessions.begin(connection, one.id, one.name)[0] for one in (user, user, other)]
    for change in (Change(role="reviewer"), Change(password="$new"), Change(disabled=True)):
        with sessions.changing() as connection:
            user = users.change(connection, user, change, "admin")
            assert not connection.execute(schema.sessions.select().where(schema.sessions.c.user == user.id)).all()
    assert sessions.check(cookies[2]).user == other
    assert (user.role, user.disabled) == ("reviewer", True)
    with database.reading() as connection:
        assert users.get(connection, "ann") == user
        told = [entry for entry in entries(connection) if entry.action == "change user"]
    assert [(one.actor, one.subject) for one in told] == [("admin", "user:ann")] * 3
    assert [one.details for one in told] == [{"role": "reviewer"}, {"password": "changed"}, {"disabled": 1}]


def test_a_change_of_nothing_changes_nothing(sessions, database) -> None:
    user = add(sessions)
    with sessions.changing() as connection:
        cookie, _ = sessions.begin(connection, user.id, user.name)
        assert users.change(connection, user, Change(), "admin") == user
    assert sessions.check(cookie).user == user


def test_users_are_removed_alone_or_with_their_customer(sessions, database) -> None:
    gone = add(sessions)
    for name, customer in (("bob", "bank"), ("cid", "shop"), ("dee", "bank")):
        add(sessions, name, customer=customer)
    with sessions.changing() as connection:
        users.remove(connection, gone, "admin")
        assert users.remove_customer(connection, "bank") == 2
        assert users.remove_customer(connection, "bank") == 0
        assert [user.name for user in users.find(connection)] == ["cid"]
        assert ("delete user", "user:ann") in [(one.action, one.subject) for one in entries(connection)]
