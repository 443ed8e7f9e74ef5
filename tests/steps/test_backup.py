"""Backups: complete, of one moment, checked before anything has its final name, and restored on an empty home."""

import io
import json
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests import databases
from tests.store.conftest import cluster, server_url, without_rows  # noqa: F401 - fixtures
from tests.store.test_writer import entry
from vertune.core.artifact import Home
from vertune.core.errors import AccessError, Conflict, DataError
from vertune.steps.backup import backup, restore
from vertune.store import schema, users
from vertune.store.database import FILE, Database
from vertune.store.keys import Keys
from vertune.store.sessions import Sessions
from vertune.store.traffic import fingerprint_key, write
from vertune.store.user import User


def content(folder):
    """Every file of a home but the database, with its content."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith((FILE, ".")))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def fill(database):
    """Store some rows; returns the secret of a key."""
    secret, _ = Keys(database).create("a", ["predict"], customer="bank")
    with database.writing() as connection:
        write(connection, [entry() for _ in range(10)])
    return secret


@pytest.fixture
def home(tmp_path):
    """A home with a model, an alias, and what is not to be copied."""
    made = Home(tmp_path / "home")
    for name, text in (
        ("models/intent-1/manifest.json", "{}"), ("models/intent-1/base/model.safetensors", "weights" * 1000),
        ("aliases/intent@live", "intent-1\n"), ("reports/r/report.html", "<html>"), ("datasets/d/train.parquet", "rows"),
        ("uploads/1.csv", "text"), ("uploads/.2.csv", "half of a te"), ("outputs/3.jsonl", "{}"),
        ("runs/unfinished/manifest.json", "{}"),
        ("models/.gone.removed/manifest.json", "{}"), ("admin.key", "vt_secret"),
    ):  # fmt: skip
        file = made.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return made


@pytest.fixture
def database(home):
    with closing(Database(databases.new(home.folder / FILE))) as opened:
        yield opened


def test_a_home_is_restored_as_it_was(home, database, tmp_path):
    secret = fill(database)
    file = tmp_path / "backups" / "today.tar"
    assert backup(home, database, file) == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["today.tar"]
    target = Home(tmp_path / "new" / "home")
    restore(file, target)
    left_out = ("runs/", "models/.", "uploads/.", "admin")
    expected = {name: data for name, data in content(home.folder).items() if not name.startswith(left_out)}
    assert content(target.folder) == expected
    assert (target.folder / FILE).stat().st_mode & 0o777 == 0o600
    with closing(Database(target.folder / FILE)) as restored:
        assert Keys(restored).check(secret).customer == "bank"
        assert fingerprint_key(restored) == fingerprint_key(database)
        with restored.reading() as connection:
            assert connection.scalar(select(func.count()).select_from(schema.answers)) == 10


def test_a_backup_is_of_one_moment_while_the_server_writes(home, database, tmp_path):
    stop = threading.Event()

    def work():
        with closing(Database(home.folder / FILE)) as other:
            while not stop.is_set():
                with other.writing() as connection:
                    write(connection, [entry(answers=3)])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(3):
            backup(home, database, tmp_path / f"{number}.tar")
    finally:
        stop.set()
        thread.join()
    for number in range(3):
        target = Home(tmp_path / f"home {number}")
        restore(tmp_path / f"{number}.tar", target)
        with closing(Database(target.folder / FILE)) as restored, restored.reading() as connection:
            requests, answers = (connection.scalar(select(func.count()).select_from(table)) for table in (schema.requests, schema.answers))
            assert answers == 3 * requests
            assert (connection.scalar(select(func.sum(schema.usage.c.requests))) or 0) == requests
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_a_postgresql_database_is_copied_into_the_file_and_back(home, server_url, tmp_path, request):  # noqa: F811
    with closing(Database(server_url)) as database:
        secret = fill(database)
        backup(home, database, tmp_path / "a.tar")
    with pytest.raises(Conflict, match="expected an empty one"):
        restore(tmp_path / "a.tar", Home(tmp_path / "full"), server_url)
    assert not (tmp_path / "full").exists()
    restore(tmp_path / "a.tar", Home(tmp_path / "file"))
    with closing(Database(tmp_path / "file" / FILE)) as restored:
        assert Keys(restored).check(secret).name == "a"
    with closing(Database(server_url)) as database, database.writing() as connection:
        for table in schema.metadata.sorted_tables:
            connection.execute(table.delete())
    restore(tmp_path / "a.tar", Home(tmp_path / "server"), server_url)
    assert not list((tmp_path / "server").glob(f"{FILE}*"))
    with closing(Database(server_url)) as restored:
        assert Keys(restored).check(secret).name == "a"


def test_a_database_with_anything_in_it_is_not_overwritten(home, database, server_url, tmp_path):  # noqa: F811
    """A server without keys that has deleted its oldest requests has usage and a history, which nobody could make again."""
    fill(database)
    backup(home, database, tmp_path / "a.tar")
    day = {"day": "2030-01-01", "customer": "bank", "key": "", "vertical": "intent", "requests": 9, "records": 9, "tokens": 9}
    with closing(Database(server_url)) as used:
        Keys(used).all()
        with used.writing() as connection:
            connection.execute(schema.usage.insert().values({**day, "cached_tokens": 0}))
        with pytest.raises(Conflict, match="the table usage"):
            restore(tmp_path / "a.tar", Home(tmp_path / "new"), server_url)
        with used.writing() as connection:
            assert connection.scalar(select(schema.usage.c.requests)) == 9
            connection.execute(schema.usage.delete())
    restore(tmp_path / "a.tar", Home(tmp_path / "new"), server_url)


def sign_in(database):
    """Create a user who is signed in; returns the cookie."""
    sessions = Sessions(database)
    with sessions.changing() as connection:
        users.add(connection, User("1", "ann", "annotator", "bank", "2030-01-01T00:00:00+00:00"), "$hash", "tests")
        return sessions.begin(connection, "1", "user:ann")[0]


def check_that_nobody_is_signed_in(database, cookie):
    with database.reading() as connection:
        assert [(user.name, user.customer) for user in users.find(connection)] == [("ann", "bank")]
        assert connection.scalar(select(func.count()).select_from(schema.sessions)) == 0
    with pytest.raises(AccessError, match="Sign in again"):
        Sessions(database).check(cookie)


def test_users_are_copied_without_their_sessions(home, database, tmp_path):
    cookie = sign_in(database)
    assert Sessions(database).check(cookie)
    (id,) = (session.id for session in Sessions(database)._refresh().values())
    backup(home, database, tmp_path / "a.tar")
    assert id.encode() not in (tmp_path / "a.tar").read_bytes()
    assert Sessions(database).check(cookie), "the server goes on"
    restore(tmp_path / "a.tar", Home(tmp_path / "file"))
    with closing(Database(tmp_path / "file" / FILE)) as restored:
        check_that_nobody_is_signed_in(restored, cookie)


def test_users_of_postgresql_are_copied_without_their_sessions(home, server_url, tmp_path):  # noqa: F811
    with closing(Database(server_url)) as database:
        cookie = sign_in(database)
        backup(home, database, tmp_path / "a.tar")
        with pytest.raises(Conflict, match="expected an empty one"):
            restore(tmp_path / "a.tar", Home(tmp_path / "full"), server_url)
        with database.writing() as connection:
            for table in schema.metadata.sorted_tables:
                connection.execute(table.delete())
        restore(tmp_path / "a.tar", Home(tmp_path / "server"), server_url)
        check_that_nobody_is_signed_in(database, cookie)


def test_nothing_is_overwritten(home, database, tmp_path):
    file = tmp_path / "a.tar"
    backup(home, database, file)
    with pytest.raises(Conflict, match="exists already"):
        backup(home, database, file)
    with pytest.raises(Conflict):
        restore(file, home)


def repacked(file, change):
    """The backup with other entries."""
    with tarfile.open(file) as archive:
        entries = [(info.name, archive.extractfile(info).read()) for info in archive]
    with tarfile.open(file, "w") as archive:
        for name, data in change(entries):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entries: entries[:-1], "incomplete"), (lambda entries: entries[1:], "damaged"),
        (lambda entries: [(name, data.replace(b"weights", b"weighty")) for name, data in entries], "damaged"),
        (lambda entries: [("../evil", b""), *entries], "unexpected"), (lambda entries: [("/etc/evil", b""), *entries], "unexpected"),
        (lambda entries: [("models/../../evil", b""), *entries], "unexpected"), (lambda entries: [("other", b""), *entries], "unexpected"),
        (lambda entries: [*entries, ("models/late", b"")], "models/late"),
        (lambda entries: [*entries[:-1], ("backup.json", json.dumps({"format": 99, "files": {}}).encode())], "newer version"),
        (lambda entries: [*entries[:-1], ("backup.json", b"[]")], "no list of its entries"),
        (lambda entries: [*entries[:-1], ("backup.json", b"[" * 100_000)], "can't be read as a backup"),
        (lambda entries: [*entries[:-1], ("backup.json", b'{"format": 1}')], "damaged"),
        (lambda entries: [*entries[:-1], ("backup.json", b'{"format": 1, "files": ["server.db"]}')], "damaged"),
        (lambda entries: [("backup.json", b'{"format": 1}')], "damaged"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_was_written_is_not_restored(home, database, tmp_path, change, said):
    file = tmp_path / "a.tar"
    backup(home, database, file)
    repacked(file, change)
    with pytest.raises(DataError, match=said):
        restore(file, Home(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("data", [b"", b"no archive", b"\\0" * 2000])
def test_what_is_no_backup(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DataError):
        restore(tmp_path / "a.tar", Home(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_truncated_backup(home, database, tmp_path):
    file = tmp_path / "a.tar"
    backup(home, database, file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError):
        restore(file, Home(tmp_path / "new"))


def test_a_link_in_a_home_is_not_followed(home, database, tmp_path):
    (home.folder / "models" / "intent-1" / "link").symlink_to("/etc/passwd")
    with pytest.raises(Exception, match="symbolic link"):
        backup(home, database, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()
