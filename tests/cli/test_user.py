"""`vertune user`: the password alone on standard output or typed without being shown, and never an argument."""

import json

import pytest

from tests import databases
from vertune.cli import user as command
from vertune.core.errors import AccessError, ConfigError, Conflict, NotFound, UnknownName
from vertune.server.people import People
from vertune.server.settings import SessionSettings
from vertune.store.database import FILE, Database
from vertune.store.user import ROLES

TYPED = "correct horse battery"
CHEAP = SessionSettings(password_kibibytes=8, password_rounds=1)
"""Passwords are hashed in a moment; tests/server/test_session.py looks at what it costs otherwise."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VERTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home, capsys, monkeypatch):
    """Run a verb and give its exit code, output and errors; what is typed is `typed`."""
    monkeypatch.setattr("vertune.server.people.SessionSettings", lambda: CHEAP)

    def call(*words, typed=()):
        answers = iter(typed)
        monkeypatch.setattr("getpass.getpass", lambda *_, **__: next(answers))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            command.verbs(words, prog_name="vertune user")
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return call


@pytest.fixture
def people(home):
    database = Database(databases.new(home / FILE))
    yield People(database, CHEAP)
    database.close()


def test_create_prints_the_password_alone(run, people):
    code, shown, said = run("create", "Ann", "--role", "annotator", "--customer", "bank")
    assert code == 0, said
    password = shown.strip()
    assert shown.count("\n") == 1
    assert password not in said
    assert "The user ann of the customer bank signs in as annotator." in said
    assert people.sign_in("ann", password, None)[1].user.customer == "bank"


def test_a_password_is_typed_twice_and_not_shown(run, people):
    code, shown, said = run("create", "ann", "--role", "reviewer", "--ask", typed=(TYPED, TYPED))
    assert (code, shown) == (0, ""), said
    assert TYPED not in said
    assert people.sign_in("ann", TYPED, None)
    with pytest.raises(ConfigError, match="12 to 1024"):
        run("create", "bob", "--role", "reviewer", "--ask", typed=("short", "short"))


def test_what_is_refused(run, people):
    assert run("create", "ann", "--role", "annotator")[0] == 0
    with pytest.raises(Conflict, match="'ann' is taken"):
        run("create", "ANN", "--role", "annotator")
    with pytest.raises(UnknownName, match="Did you mean 'reviewer'"):
        run("create", "bob", "--role", "reviwer")
    with pytest.raises(ConfigError, match="The name of the user"):
        run("create", "a b", "--role", "reviewer")
    with pytest.raises(NotFound, match="no user 'bob'"):
        run("change", "bob", "--role", "admin")
    with pytest.raises(ConfigError, match="--new-password"):
        run("change", "ann")
    assert run("create", "bob")[0] == 2  # a role must be said
    assert len(people.all()) == 1


def test_no_option_takes_a_password(run):
    for verb in ("create", "change"):
        shown = run(verb, "--help")[1]
        assert "--password" not in shown
        assert "--ask" in shown
        assert all(role in shown for role in ROLES)


def test_list(run, home, people):
    run("create", "ann", "--role", "annotator", "--customer", "bank")
    run("create", "bob", "--role", "admin")
    run("change", "bob", "--disable")
    header, ann, bob = run("list")[1].splitlines()
    assert header.split() == ["name", "role", "customer", "created", "signs", "in", "by", "state"]
    assert ann.split()[:3] == ["ann", "annotator", "bank"]
    assert bob.split()[-1] == "disabled"
    listed = json.loads(run("list", "--json")[1])
    assert [(one["name"], one["role"], one["disabled"], one["openid"]) for one in listed] == [
        ("ann", "annotator", False, False), ("bob", "admin", True, False),
    ]  # fmt: skip
    assert "argon2" not in repr(listed)


def test_list_of_nothing_makes_no_database(run, home):
    code, shown, said = run("list")
    assert (code, shown) == (0, "")
    assert "no users" in said
    assert json.loads(run("list", "--json")[1]) == []
    assert not home.exists()


def test_changes_and_removal_end_sessions(run, people):
    password = run("create", "ann", "--role", "annotator")[1].strip()
    changes = [("change", "ann", "--role", "reviewer"), ("change", "ann", "--disable"), ("change", "ann", "--enable")]
    for words in changes:
        if words[-1] != "--enable":
            cookie, _ = people.sign_in("ann", password, None)
        assert run(*words)[0] == 0
    fresh = run("change", "ann", "--new-password")[1].strip()
    assert fresh != password
    cookie, session = people.sign_in("ann", fresh, None)
    assert session.user.role == "reviewer"
    assert run("remove", "ann")[0] == 0
    people.sessions._current_at = -float("inf")
    with pytest.raises(AccessError, match="The session has ended"):
        people.sessions.check(cookie)
    assert people.all() == []
