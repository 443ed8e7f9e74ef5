"""Keys: permissions, secrets that no file and no message contains, and writes of other processes, which take effect in time."""

import base64
import hashlib
import logging
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy
from tests import databases
from tests.store.conftest import DELAY

from vertune.core.errors import AccessError, ConfigError, Conflict, NotFound, StorageError, UnknownName
from vertune.store import cached
from vertune.store import keys as module
from vertune.store.database import FILE, Database
from vertune.store.key import SCOPES, Rate, parse_rate
from vertune.store.keys import REVOCATION_DELAY, Keys

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "home" / FILE


def open_keys(file):
    return Keys(Database(file))


@pytest.fixture
def keys(file):
    made = open_keys(databases.new(file))
    yield made
    made.close()


@pytest.fixture
def other(keys, file):
    """The same database in other hands."""
    made = open_keys(file)
    yield made
    made.close()


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test moves by `clock[0] += …`."""
    now = [START]
    for place in ("key", "keys"):
        monkeypatch.setattr(f"vertune.store.{place}.utc_now", lambda: now[0])
    return now


def elsewhere(file, code):
    """Run code on `keys` in another process."""
    path = os.pathsep.join(path for path in sys.path if path)
    opening = f"keys = Keys(Database(pathlib.Path({str(file)!r})))"
    code = f"import pathlib\nfrom vertune.store.database import Database\nfrom vertune.store.keys import Keys\n{opening}\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_made_is_what_is_found(keys, other, clock):
    secret, key = keys.create(" Web shop ", ["predict", "feedback"], ["support", "returns"], START + HOUR, "600/minute")
    assert re.fullmatch(rf"vt_{key.id}_[A-Za-z0-9_-]{{43}}", secret)
    assert (key.name, key.scopes, key.verticals, key.rate) == ("Web shop", {"predict", "feedback"}, ("support", "returns"), "600/minute")
    assert (key.created, key.expires, key.revoked, key.state) == (START, START + HOUR, None, "live")
    assert keys.check(secret) == other.check(secret) == key
    assert keys.all() == other.all() == [key]


def test_times_are_utc(keys, clock):
    _, key = keys.create("a", ["predict"], expires=datetime(2030, 6, 1, 12, tzinfo=timezone(timedelta(hours=8))))
    assert keys.all()[0].expires == key.expires == datetime(2030, 6, 1, 4, tzinfo=UTC)
    assert key.expires.utcoffset() == keys.all()[0].expires.utcoffset() == timedelta(0)


def test_secrets_differ_and_hold_256_bits(keys):
    made = [keys.create("a", ["predict"])[0] for _ in range(20)]
    hidden = {secret.split("_", 2)[2] for secret in made}
    assert len(hidden) == len({secret.split("_")[1] for secret in made}) == 20
    assert {len(base64.urlsafe_b64decode(text + "=")) for text in hidden} == {32}


def test_the_database_holds_no_secret(keys, file):
    secrets = [keys.create("who has it", ["predict"])[0]]
    secrets.append(keys.rotate(keys.all()[0].id, HOUR)[0])
    raw = b"".join(path.read_bytes() for path in sorted(file.parent.iterdir()))
    assert b"who has it" in raw
    for secret in secrets:
        hidden = secret.split("_", 2)[2]
        assert hidden.encode() not in raw
        assert base64.urlsafe_b64decode(hidden + "=") not in raw
        assert hashlib.sha256(hidden.encode()).digest() in raw


def test_only_the_owner_can_read_it(keys, file):
    keys.create("a", ["predict"])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes == {FILE: 0o600, f"{FILE}-reserve": 0o600}


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path):
    file = tmp_path / FILE
    file.touch(0o644)
    open_keys(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_readers_wait_for_no_writer_and_writes_are_on_the_disk(keys, file):
    with keys.database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


@pytest.mark.parametrize(
    ("scopes", "verticals", "scope", "vertical", "allowed"),
    [
        (["predict"], None, "predict", None, True),
        (["predict"], None, "predict", "support", True),
        (["predict"], None, "train", "support", False),
        (["predict"], None, "admin", None, False),
        (["predict", "feedback"], ["support"], "feedback", "support", True),
        (["predict", "feedback"], ["support"], "feedback", "returns", False),
        (["predict"], ["support"], "predict", None, True),
        (["predict"], ["support"], "predict", "support-b", False),
        *[(["admin"], None, scope, "support", True) for scope in SCOPES],
    ],
)
def test_may(keys, scopes, verticals, scope, vertical, allowed):
    keys.create("a", scopes, verticals)
    assert keys.all()[0].may(scope, vertical) is allowed


def refusal(keys, secret):
    """Check a secret until it is refused; the error, and the seconds until then."""
    start = time.monotonic()
    while time.monotonic() < start + 10:
        try:
            keys.check(secret)
        except AccessError as error:
            return error, time.monotonic() - start
    raise AssertionError("the key is still accepted")


def test_a_key_that_another_connection_revokes_is_refused_within_the_delay(keys, other):
    assert REVOCATION_DELAY <= 1
    secret, key = keys.create("a", ["predict"])
    assert other.check(secret) == keys.check(secret)
    ended = other.revoke(key.id)
    error, seconds = refusal(keys, secret)
    assert "is revoked" in str(error)
    assert error.http_status == 401
    assert seconds < DELAY + 0.3
    assert keys.all() == [ended]
    assert ended.state == "revoked"


def test_keys_that_another_process_creates_and_revokes(keys, file):
    mine, key = keys.create("a", ["predict"])
    keys.check(mine)
    theirs = elsewhere(file, f"keys.revoke({key.id!r})\nprint(keys.create('b', ['train'])[0])")
    assert keys.check(theirs).name == "b"  # a new key works at once
    error, seconds = refusal(keys, mine)
    assert "is revoked" in str(error)
    assert seconds < DELAY + 0.3


def test_a_key_that_another_connection_creates_works_at_once(keys, other):
    first, _ = keys.create("a", ["predict"])
    keys.check(first)
    second, key = other.create("b", ["predict"])
    assert keys.check(second) == key


def test_a_key_that_was_created_while_the_keys_were_read_works_at_once(keys, other, monkeypatch):
    read = keys.database.reading
    created = []

    @contextmanager
    def reading(wait=None):
        with read(wait) as connection:
            yield connection
            created.append(other.create("b", ["predict"]))

    with monkeypatch.context() as patched:
        patched.setattr(keys.database, "reading", reading)
        keys.all()
    assert keys.check(created[0][0]) == created[0][1]


def test_an_unknown_secret_is_not_called_unknown_while_the_keys_cannot_be_read(keys, file):
    secret, _ = keys.create("a", ["predict"])
    file.rename(file.with_name("away.db"))
    with pytest.raises(StorageError, match="removed while in use"):
        keys.check(f"{secret}x")


def test_own_writes_hold_at_once(keys):
    secret, key = keys.create("a", ["predict"])
    keys.check(secret)
    keys.revoke(key.id)
    with pytest.raises(AccessError, match="revoked"):
        keys.check(secret)


def test_the_rows_are_read_again_only_where_somebody_wrote(keys, other, monkeypatch):
    secret, _ = keys.create("a", ["predict"])
    reads = []
    read = keys._read
    monkeypatch.setattr(keys, "_read", lambda connection: reads.append(1) or read(connection))
    for _ in range(50):
        keys.check(secret)
    assert not reads
    other.create("b", ["predict"])
    for _ in range(50):
        assert len(keys.all()) == 2
    assert len(reads) == 1


def test_the_database_is_queried_once_in_the_delay_however_many_keys_are_checked(keys):
    secret, _ = keys.create("a", ["predict"])
    queries = []
    sqlalchemy.event.listen(keys.database._engine, "begin", queries.append)
    start = time.monotonic()
    for _ in range(1000):
        keys.check(secret)
    assert len(queries) <= 1 + (time.monotonic() - start) / DELAY
    queries.clear()
    start = time.monotonic()
    for _ in range(40):
        with pytest.raises(AccessError):
            keys.check(f"{secret}x")
    assert len(queries) <= 2 + (time.monotonic() - start) / cached.MIN_QUERY_INTERVAL


def test_revoking_again_keeps_the_first_time(keys, clock):
    _, key = keys.create("a", ["predict"])
    first = keys.revoke(key.id)
    clock[0] += HOUR
    assert keys.revoke(key.id) == first
    assert first.revoked == START


def test_a_key_ends_when_it_was_told_to(keys, clock):
    secret, key = keys.create("a", ["predict"], expires=START + HOUR)
    clock[0] = START + HOUR - timedelta(microseconds=1)
    assert keys.check(secret) == key
    clock[0] = START + HOUR
    with pytest.raises(AccessError, match="expired") as refused:
        keys.check(secret)
    assert refused.value.http_status == 401
    assert keys.all()[0].state == "expired"


def test_rotation_lets_the_old_one_go_on_for_the_overlap(keys, other, clock):
    old_secret, old = keys.create("a", ["predict", "train"], ["support"], START + 90 * HOUR, "5/second")
    clock[0] += 80 * HOUR
    new_secret, new = keys.rotate(old.id, HOUR)
    assert new_secret != old_secret
    assert (new.name, new.scopes, new.verticals, new.rate) == (old.name, old.scopes, old.verticals, old.rate)
    assert (new.created, new.expires) == (clock[0], clock[0] + 90 * HOUR)
    assert other.check(old_secret).expires == clock[0] + HOUR
    assert other.check(new_secret) == new
    clock[0] += HOUR
    with pytest.raises(AccessError, match="expired"):
        other.check(old_secret)
    assert other.check(new_secret) == new


def test_an_overlap_lengthens_no_life(keys, clock):
    _, old = keys.create("a", ["predict"], expires=START + HOUR)
    keys.rotate(old.id, 5 * HOUR)
    assert keys.all()[0].expires == START + HOUR


def test_without_overlap_the_old_one_ends_at_once(keys, clock):
    secret, old = keys.create("a", ["predict"])
    _, new = keys.rotate(old.id, timedelta(0))
    assert new.expires is None
    with pytest.raises(AccessError, match="expired"):
        keys.check(secret)


def test_what_can_not_be_rotated(keys, other, clock):
    _, old = keys.create("a", ["predict"])
    _, new = keys.rotate(old.id, HOUR)
    with pytest.raises(Conflict, match=new.id):
        other.rotate(old.id, HOUR)
    keys.revoke(new.id)
    with pytest.raises(Conflict, match="is revoked"):
        other.rotate(new.id, HOUR)
    with pytest.raises(ConfigError, match="0 seconds or more"):
        keys.rotate(new.id, -HOUR)
    assert len(keys) == 2


def test_a_rotation_that_fails_half_way_leaves_nothing(keys, file):
    secret, key = keys.create("a", ["predict"])
    with sqlite3.connect(file) as database:
        database.execute("CREATE TRIGGER full BEFORE UPDATE ON keys BEGIN SELECT RAISE(ABORT, 'no more room'); END")
    database.close()
    with pytest.raises(StorageError, match="no more room"):
        keys.rotate(key.id, HOUR)
    assert keys.all() == [key]
    assert keys.check(secret) == key


@pytest.mark.parametrize("change", ["rotate", "revoke"])
def test_an_id_that_is_not_there(keys, file, change):
    def ask(id):
        return keys.revoke(id) if change == "revoke" else keys.rotate(id, HOUR)

    secret, key = keys.create("a", ["predict"])
    with pytest.raises(NotFound, match=r"no key 0123456789ab.*vertune key list"):
        ask("0123456789ab")
    with pytest.raises(NotFound, match="12 characters") as refused:
        ask(secret)
    assert secret.split("_", 2)[2] not in str(refused.value)
    assert key.id not in str(refused.value)


def broken(secret):
    """Secrets that open nothing, made of one that does."""
    _, id, hidden = secret.split("_", 2)
    return [
        "", "vt_", "vt__", "_", id, hidden, f"vt_{id}", f"vt_{id}_", f"vt_{id}_{hidden}x", f"vt_{id}_{hidden[:-1]}", f"xx_{id}_{hidden}",
        f"vt_{'0' * 12}_{hidden}", f"vt_{hidden}_{id}", secret.upper(), f" {secret}", f"vt_{id}_\udc80", f"vt_{id}_é",
        f"vt_{id}_" + "x" * 100_000,
    ]  # fmt: skip


def test_what_is_not_the_secret_opens_nothing(keys):
    secret, _ = keys.create("a", ["predict"])
    second, _ = keys.create("b", ["admin"])
    mixed = "_".join([*second.split("_")[:2], secret.split("_", 2)[2]])
    for wrong in [*broken(secret), mixed]:
        with pytest.raises(AccessError, match="not known") as refused:
            keys.check(wrong)
        assert refused.value.http_status == 401


def test_no_message_or_log_holds_a_part_of_a_secret(keys, clock, caplog):
    caplog.set_level(logging.DEBUG)
    live, _ = keys.create("a", ["predict"])
    gone, key = keys.create("b", ["predict"])
    late, _ = keys.create("c", ["predict"], expires=START + HOUR)
    keys.revoke(key.id)
    clock[0] += HOUR
    said = []
    for secret in [*broken(live), gone, late]:
        with pytest.raises(AccessError) as refused:
            keys.check(secret)
        said.append(f"{refused.value!r} {refused.value} {refused.value.__cause__} {refused.value.__context__}")
    assert len(set(said)) == 3  # unknown, revoked, expired
    for secret in (live, gone, late):
        _, id, hidden = secret.split("_", 2)
        for part in (id, hidden[:10], hidden[-10:]):
            assert not [text for text in [*said, caplog.text] if part in text]
        assert hidden[:10] not in f"{keys!r} {keys.all()!r}"


def test_every_wrong_secret_costs_the_same_comparisons(keys, monkeypatch):
    secret, _ = keys.create("a", ["predict"])
    compared = []
    compare = module.hmac.compare_digest
    monkeypatch.setattr(module.hmac, "compare_digest", lambda *both: compared.append([*map(len, both)]) or compare(*both))
    keys.check(secret)
    assert compared == [[32, 32]]
    for wrong in broken(secret):
        compared.clear()
        with pytest.raises(AccessError):
            keys.check(wrong)
        only_prefix_differs = wrong.partition("_")[2] == secret.partition("_")[2]
        assert compared == [[32, 32]] * (1 if only_prefix_differs else 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": " "}, "1 to 80 printable characters"),
        ({"name": "x" * 81}, "1 to 80 printable characters"),
        ({"name": "a\nb"}, "1 to 80 printable characters"),
        ({"scopes": []}, "one scope or more"),
        ({"verticals": []}, "list of allowed verticals"),
        ({"verticals": ["support", "../etc"]}, "expected 1 to 80 characters"),
        ({"verticals": ["two words"]}, "expected 1 to 80 characters"),
        ({"verticals": ["support"], "scopes": ["admin"]}, "An admin key can't be restricted"),
        ({"expires": START}, "in the future"),
        ({"expires": datetime(2031, 1, 1)}, "time zone"),
    ],
)
def test_what_makes_no_key(keys, clock, given, said):
    with pytest.raises(ConfigError, match=said):
        keys.create(**{"name": "a", "scopes": ["predict"], **given})
    assert len(keys) == 0


def test_a_misspelt_scope_is_told_its_neighbour(keys):
    with pytest.raises(UnknownName, match="Did you mean 'predict'"):
        keys.create("a", ["feedback", "predct"])


@pytest.mark.parametrize(
    ("rate", "parsed"),
    [
        ("600/minute", (600, 60)), ("10/second", (10, 1)), ("10 per 2 hours", (10, 7200)), ("1/day", (1, 86400)),
        ("5 / 3 Months", (5, 7776000)), ("1000000/day", (1_000_000, 86400)),
        ("0/minute", None), ("600", None), ("", None), ("fast", None), ("-1/minute", None),
        ("5/fortnight", None), ("600/minute;5/second", None), ("1.5/minute", None), ("5/0 minutes", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}/day", None),
        ("9" * 5000 + "/day", None), ("5/minute\n", (5, 60)), ("5/minutess", None),
    ],
)  # fmt: skip
def test_rates(keys, rate, parsed):
    if parsed is None:
        with pytest.raises(ConfigError, match="such as 600/minute"):
            keys.create("a", ["predict"], rate=rate)
        return
    assert keys.create("a", ["predict"], rate=rate)[1].rate == rate
    assert parse_rate(rate) == Rate(*parsed)


def test_all_are_counted_and_listed_oldest_first(keys, other, clock):
    assert (len(keys), keys.all()) == (0, [])
    for name in "bac":  # written last to first, as where two clocks differ
        other.create(name, ["predict"])
        clock[0] -= HOUR
    other.revoke(other.all()[0].id)
    assert [key.name for key in keys.all()] == [*"cab"]
    assert len(keys) == 3


def test_a_file_that_is_no_database(tmp_path):
    file = tmp_path / FILE
    file.write_bytes(b"this is a letter, and no database at all\n" * 100)
    with pytest.raises(StorageError, match=r"damaged or not a database.*vertune key create"):
        open_keys(file)


def test_pages_that_are_damaged(keys, file):
    for place in range(10):
        keys.create(f"name {place}", ["predict"])
    keys.close()
    raw = bytearray(file.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    file.write_bytes(raw)
    with pytest.raises(StorageError, match="backup"):
        open_keys(file).all()


@pytest.mark.parametrize("change", ["created = 'yesterday'", "hash = 'text'", "expires = 'never'"])
def test_a_row_that_can_not_be_read_opens_nothing(keys, file, change, monkeypatch):
    secret, _ = keys.create("a", ["predict"])
    keys.check(secret)
    monkeypatch.setattr(cached, "_MAX_ROWS_AGE", 0.0)
    monkeypatch.setattr(cached, "_MAX_AGE_WHILE_UNREADABLE", 0.0)
    with sqlite3.connect(file) as database:
        database.execute(f"UPDATE keys SET {change}")
    database.close()
    time.sleep(DELAY)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"can't be read.*backup"):
            keys.check(secret)


def test_another_process_that_writes_for_long(file, monkeypatch):
    monkeypatch.setattr("vertune.store.database.BUSY_TIMEOUT", 0.05)
    keys = open_keys(file)
    secret, key = keys.create("a", ["predict"])
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"locked by another process.* Stop that process"):
        keys.revoke(key.id)
    assert keys.check(secret) == key  # who reads waits for nobody
    assert 0.05 <= time.monotonic() - start < 0.5
    database.execute("ROLLBACK")
    database.close()
    assert keys.revoke(key.id).state == "revoked"
    keys.close()


def test_a_database_that_was_removed_grants_access_for_a_while_only(keys, file, monkeypatch):
    secret, key = keys.create("a", ["predict"])
    keys.check(secret)
    file.rename(file.with_name("away.db"))
    time.sleep(DELAY)
    assert keys.check(secret) == key
    monkeypatch.setattr(cached, "_MAX_AGE_WHILE_UNREADABLE", 0.0)
    for use in (lambda: keys.check(secret), keys.all, lambda: keys.revoke(key.id)):
        with pytest.raises(StorageError, match="removed while in use"):
            use()
    file.with_name("away.db").rename(file)
    assert keys.check(secret) == key


@pytest.fixture
def replaced(keys, file, tmp_path):
    """Replace the database by another one; returns the secret of its only key."""

    def replace(names):
        substitute = open_keys(tmp_path / "other" / FILE)
        secret, _ = substitute.create("from the backup", ["predict"])
        substitute.close()
        for name in names:
            file.with_name(name).unlink()
        substitute.database.file.replace(file)
        return secret

    return replace


def test_a_database_that_was_replaced_is_opened(keys, file, replaced):
    old, _ = keys.create("a", ["predict"])
    keys.check(old)
    new = replaced([FILE])
    assert keys.check(new).name == "from the backup"
    with pytest.raises(AccessError, match="not known"):
        keys.check(old)
    assert keys.create("b", ["train"])[1] in keys.all()
    with closing(open_keys(file)) as again:
        assert [key.name for key in again.all()] == ["from the backup", "b"]


def test_a_file_that_is_no_database_in_its_place_grants_nothing(keys, file, monkeypatch):
    monkeypatch.setattr(cached, "_MAX_AGE_WHILE_UNREADABLE", 0.0)
    secret, _ = keys.create("a", ["predict"])
    keys.check(secret)
    for path in file.parent.iterdir():
        path.unlink()
    file.write_bytes(b"this is a letter, and no database at all\n" * 100)
    time.sleep(DELAY)
    for _ in range(3):
        with pytest.raises(StorageError, match="not a database"):
            keys.check(secret)


def test_the_log_of_a_replaced_database_is_not_applied_to_the_new_one(file, keys, replaced, monkeypatch):
    monkeypatch.setattr(cached, "_MAX_AGE_WHILE_UNREADABLE", 0.0)
    keys.database.hold()
    old, key = keys.create("a", ["predict"])
    keys.check(old)
    assert file.with_name(f"{FILE}-wal").exists()
    replaced([FILE])
    time.sleep(DELAY)
    for use in (lambda: keys.check(old), keys.all, lambda: keys.revoke(key.id)):
        with pytest.raises(StorageError, match=f"delete {FILE}-wal and {FILE}-shm"):
            use()
    keys.database.close()
    for name in ("wal", "shm"):
        file.with_name(f"{FILE}-{name}").unlink(missing_ok=True)
    with closing(Database(file)) as database:
        assert [key.name for key in Keys(database).all()] == ["from the backup"]


def test_a_key_that_was_seen_revoked_stays_revoked_when_an_older_copy_comes_back(keys, file):
    secret, key = keys.create("a", ["predict"])
    copy = file.read_bytes()
    keys.revoke(key.id)
    file.unlink()
    file.write_bytes(copy)
    time.sleep(DELAY)
    with pytest.raises(AccessError, match="revoked"):
        keys.check(secret)


def test_a_locked_database_grants_access_for_a_while_only(keys, file, monkeypatch):
    secret, key = keys.create("a", ["predict"])
    keys.check(secret)
    locking = sqlite3.connect(file, isolation_level=None)
    locking.execute("PRAGMA locking_mode = EXCLUSIVE")
    locking.execute("BEGIN EXCLUSIVE")
    time.sleep(DELAY)
    started = time.monotonic()
    assert keys.check(secret) == key
    assert time.monotonic() - started < 1
    monkeypatch.setattr(cached, "_MAX_AGE_WHILE_UNREADABLE", 0.0)
    time.sleep(DELAY)
    with pytest.raises(StorageError, match="locked by another process"):
        keys.check(secret)
    locking.close()


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1200k,mode=700", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only an administrator may mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_lets_a_revocation_through(disk):
    with closing(open_keys(disk / FILE)) as keys:
        secret, key = keys.create("a", ["predict"])
        assert "full" in keys.trouble()  # the disk is smaller than what counts as room
        with (disk / "filler").open("wb") as filler, suppress(OSError):
            filler.write(bytes(2 << 20))
        assert shutil.disk_usage(disk).free == 0
        with pytest.raises(StorageError, match=r"can't be used.*disk not full"):
            keys.create("b", ["predict"])
        assert keys.revoke(key.id).state == "revoked"
        with pytest.raises(AccessError, match="revoked"):
            keys.check(secret)


def test_a_read_only_disk_grants_access(disk):
    with closing(open_keys(disk / FILE)) as keys:
        secret, key = keys.create("a", ["predict"])
        assert keys.database.writable
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with closing(open_keys(disk / FILE)) as keys:
        assert keys.check(secret) == key
        assert not keys.database.writable
        assert "read-only" in keys.trouble()
        for use in (lambda: keys.revoke(key.id), lambda: keys.create("b", ["predict"])):
            with pytest.raises(StorageError, match="read-only"):
                use()


def test_a_place_that_can_not_be_written(tmp_path):
    (tmp_path / "plain").write_text("a file, no folder")
    with pytest.raises(StorageError, match="Can't write"):
        open_keys(tmp_path / "plain" / FILE)
    (tmp_path / FILE).mkdir()
    with pytest.raises(StorageError):
        open_keys(tmp_path / FILE)


def test_the_first_read_waits_for_a_writer_because_nothing_is_cached(file):
    secret, key = open_keys(file).create("a", ["predict"])
    other = open_keys(file)
    writing = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    writing.execute("BEGIN EXCLUSIVE")
    later = threading.Timer(0.1, writing.execute, ["COMMIT"])
    later.start()
    assert other.check(secret) == key
    later.join()
    writing.close()
    other.close()


def test_many_open_a_new_database_at_the_same_time(file):
    ready = threading.Barrier(8)

    def make(place):
        ready.wait()
        keys = open_keys(file)
        secret, _ = keys.create(f"name {place}", ["predict"])
        keys.check(secret)
        keys.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    keys = open_keys(file)
    assert len(keys) == 8
    keys.close()


@pytest.fixture
def _quick_switches():
    """Threads take turns often: any statement of one may follow any of another, and none waits long for those that only compute."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_quick_switches")
def test_many_threads_on_one_object(keys):
    secret, key = keys.create("a", ["predict"])
    stop = threading.Event()
    found = []

    def look():
        while not stop.is_set():
            found.append(keys.check(secret) == key)

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look) for _ in range(3)]
        for _ in range(5):
            keys.revoke(keys.create("b", ["train"])[1].id)
        stop.set()
        for one in looking:
            one.result()
    assert found
    assert all(found)
    assert len(keys) == 6
