"""`vertune key`: the secret alone on standard output, times in words, and what a person is told beside."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests import databases
from vertune.cli import key as command
from vertune.core.errors import AccessError, ConfigError, NotFound, StorageError, UnknownName
from vertune.store.database import FILE, Database
from vertune.store.key import SCOPES
from vertune.store.keys import REVOCATION_DELAY, Keys


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VERTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home, capsys):
    """Run a verb and give its exit code, output and errors."""

    def call(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            command.verbs(words, prog_name="vertune key")
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return call


@pytest.fixture
def keys(home):
    made = Keys(Database(databases.new(home / FILE)))
    yield made
    made.close()


def test_create_gives_the_secret_alone(run, keys):
    words = ["create", "web shop", "--scope", "predict", "--scope", "feedback", "--vertical", "support", "--vertical", "returns"]
    code, shown, said = run(*words, "--expires", "90d", "--rate", "600/minute")
    assert code == 0, said
    assert shown.count("\n") == 1
    key = keys.check(shown.rstrip("\n"))
    assert (key.name, key.scopes, key.verticals, key.rate) == ("web shop", {"predict", "feedback"}, ("support", "returns"), "600/minute")
    assert timedelta(days=90) - timedelta(minutes=1) < key.expires - datetime.now(UTC) <= timedelta(days=90)
    hidden = shown.strip().split("_", 2)[2]
    assert hidden not in said
    assert f"The key {key.id} of 'web shop' is valid until {key.expires:%Y-%m-%d}" in said
    assert "with the scope feedback, predict for the models support, returns, at most 600/minute." in said
    assert "shown only now" in said
    assert f"vertune key revoke {key.id}" in said


def test_create_without_bounds(run, keys):
    code, shown, said = run("create", "a", "--scope", "admin")
    assert code == 0, said
    key = keys.check(shown.strip())
    assert (key.verticals, key.expires, key.rate) == (None, None, None)
    assert "is valid until it is revoked, with the scope admin for all models." in said


def test_the_file_of_its_owner_in_the_home(run, home, tmp_path):
    run("create", "a", "--scope", "predict")
    run("create", "b", "--scope", "predict", "--home", tmp_path / "other")
    for folder in (home, tmp_path / "other"):
        assert (folder / "server.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("expires", ["90", "d", "-1d", "1.5h", "3w", "", "9999999d", "90d "])
def test_a_time_that_is_none_makes_no_key(run, keys, expires):
    with pytest.raises(ConfigError, match="30m, 24h or 90d"):
        run("create", "a", "--scope", "predict", "--expires", expires)
    assert len(keys) == 0


def test_create_refuses_what_the_store_refuses(run, keys):
    with pytest.raises(UnknownName, match="predict"):
        run("create", "a", "--scope", "predct")
    with pytest.raises(ConfigError, match="in the future"):
        run("create", "a", "--scope", "predict", "--expires", "0h")
    assert run("create", "a")[0] == 2  # a scope must be said
    assert len(keys) == 0


def test_the_help_names_every_scope(run):
    shown = run("create", "--help")[1]
    assert all(scope in shown for scope in SCOPES)


@pytest.mark.parametrize("words", [["--help"], ["create", "--help"], ["list", "--help"], ["rotate", "--help"], ["revoke", "--help"]])
def test_help(run, words):
    code, shown, _ = run(*words)
    assert code == 0
    assert "Usage: vertune key" in shown


def test_list_of_nothing_makes_no_database(run, home):
    code, shown, said = run("list")
    assert (code, shown) == (0, "")
    assert "no keys" in said
    assert "vertune key create" in said
    assert json.loads(run("list", "--json")[1]) == []
    assert not home.exists()


def test_list(run, keys):
    secret, first = keys.create("web shop", ["predict", "feedback"], ["support"], datetime.now(UTC) + timedelta(days=1), "600/minute")
    _, second = keys.create("b", ["admin"])
    keys.revoke(second.id)
    keys.create("page", ["chat"], origin="https://shop.example.com")
    code, shown, said = run("list")
    assert code == 0, said
    header, one, two, page = shown.splitlines()
    assert header.split() == ["id", "name", "customer", "scopes", "verticals", "origin", "rate", "created", "expires", "state"]
    assert one.startswith(first.id)
    assert one.endswith("live")
    assert "feedback, predict  support" in one
    assert "all" in two
    assert two.endswith("revoked")
    assert "  https://shop.example.com  " in page
    told = json.loads(run("list", "--json")[1])
    assert [one["id"] for one in told[:2]] == [first.id, second.id]
    assert told[2]["origin"] == "https://shop.example.com"
    assert told[0] | {"expires": None} == {
        "id": first.id, "name": "web shop", "customer": "default", "scopes": ["feedback", "predict"], "verticals": ["support"],
        "origin": None, "rate": "600/minute", "created": first.created.isoformat(), "expires": None, "revoked": None, "state": "live",
    }  # fmt: skip
    assert told[1]["revoked"].endswith("+00:00")
    assert secret.split("_", 2)[2] not in shown + json.dumps(told)


def test_revoke(run, keys):
    secret, key = keys.create("a", ["predict"])
    code, shown, said = run("revoke", key.id)
    assert (code, shown) == (0, "")
    assert f"revoked {key.id}" in said
    time.sleep(REVOCATION_DELAY)
    with pytest.raises(AccessError):
        keys.check(secret)
    with pytest.raises(NotFound, match="vertune key list"):
        run("revoke", "0123456789ab")


@pytest.mark.parametrize(("words", "hours"), [([], 24), (["--overlap", "30m"], 0.5), (["--overlap", "0h"], 0)])
def test_rotate(run, keys, words, hours):
    old_secret, old = keys.create("a", ["predict"], ["support"])
    code, shown, said = run("rotate", old.id, *words)
    assert code == 0, said
    assert shown.count("\n") == 1
    new = keys.check(shown.strip())
    assert (new.name, new.scopes, new.verticals) == (old.name, old.scopes, old.verticals)
    assert abs(keys.all()[0].expires - new.created - timedelta(hours=hours)) < timedelta(seconds=5)
    assert f"The old key {old.id}" in said
    assert new.id in said
    assert (keys.all()[0].state == "live") is (hours > 0)
    assert old_secret not in shown + said


@pytest.mark.parametrize("verb", [["create", "a", "--scope", "predict"], ["list"], ["revoke", "vt_000000000000"]])
def test_a_link_in_place_of_the_database_is_not_followed(home, verb, tmp_path):
    home.mkdir()
    (tmp_path / "elsewhere.db").write_bytes(b"")
    (home / FILE).symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(StorageError, match=r"server\.db is a symbolic link"):
        command.verbs(verb, standalone_mode=False)
    assert (tmp_path / "elsewhere.db").read_bytes() == b""
