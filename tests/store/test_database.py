"""Databases: migrations, transactions and errors, in SQLite and PostgreSQL."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.store.conftest import DELAY

from vertune.core.errors import AccessError, ConfigError, StorageError
from vertune.store import cached, schema
from vertune.store import database as database_module
from vertune.store.database import FILE, Database, file_in
from vertune.store.keys import Keys

GOLDEN = Path(__file__).parents[1] / "golden" / "keys-0001.db"
"""Made by the last version that stored only keys."""
SECRETS = {
    "web shop": "vt_92ded20a326b_OZtQV__qOniE06u0Xh9s9OwvTyzrEsHpw0K2O9RNskY",
    "left the company": "vt_9090fd9f6578_8jcKpXjyP6fJ0z31EZjnvJ6sBhJTSHLtkWLSeWB7Iq0",
    "operator, replaced": "vt_3f4e6c6dde33_c-FZCh0Li2Ps-l53zOHDYEu5Xkmi3goBkZ8b9Z2eEoc",
    "operator": "vt_21a0bfab8bba_94noCNWwAaQLVs59wDFziT8ZvVIbFqVEyz76VxylYck",
}


def note(connection, number):
    """Write a row that a test recognises."""
    row = {"id": f"{number:032}", "at": "", "actor": "", "action": "", "subject": "", "details": str(number)}
    connection.execute(schema.audit.insert().values(row))


def noted(database):
    with database.reading() as connection:
        return sorted(int(details) for details in connection.scalars(sqlalchemy.select(schema.audit.c.details)))


def test_the_last_migration_makes_the_tables_of_the_schema(opened):
    database = opened()
    scripts = Config()
    scripts.set_main_option("script_location", "vertune.store:migrations")
    scripts.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(scripts).get_current_head() == schema.REVISION
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        found = sqlalchemy.inspect(connection)
        for table in schema.metadata.tables.values():
            expected = {(index.name, tuple(column.name for column in index.columns), index.unique) for index in table.indexes}
            assert {(one["name"], tuple(one["column_names"]), bool(one["unique"])) for one in found.get_indexes(table.name)} == expected


def test_a_database_of_the_last_version_is_migrated_with_its_keys(tmp_path):
    file = tmp_path / FILE
    shutil.copy(GOLDEN, file)
    with closing(Database(file)) as database:
        keys = Keys(database)
        shop = keys.check(SECRETS["web shop"])
        assert (shop.name, shop.scopes, shop.verticals, shop.rate) == (
            "web shop",
            {"predict", "feedback"},
            ("support", "returns"),
            "600/minute",
        )
        assert (shop.expires.year, shop.customer) == (2099, "default")
        assert keys.check(SECRETS["operator"]).scopes == {"admin"}
        for name, why in (("left the company", "revoked"), ("operator, replaced", "expired")):
            with pytest.raises(AccessError, match=why):
                keys.check(SECRETS[name])
        keys.revoke(shop.id)
        time.sleep(DELAY)
        assert [key.state for key in keys.all()] == ["revoked", "revoked", "expired", "live"]


def old_database(location, monkeypatch):
    """Make a database of the revision before the last one, with an entry, in which transactions may wait and take 0.2 s."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT", 0.2)
    monkeypatch.setattr(database_module, "_STATEMENT_TIMEOUT", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "REVISION", "0003")
        with closing(Database(location)) as database, database.writing() as connection:
            note(connection, 1)


def test_a_migration_waits_for_that_of_another_process(location, monkeypatch):
    old_database(location, monkeypatch)
    upgrade, migrating, upgraded = database_module._upgrade, threading.Event(), []

    def slow_upgrade(connection, name):
        migrating.set()
        time.sleep(0.5)
        upgrade(connection, name)
        upgraded.append(name)

    monkeypatch.setattr(database_module, "_upgrade", slow_upgrade)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(Database, location)
        assert migrating.wait(10)
        with closing(Database(location)) as database:
            assert noted(database) == [1]
        first.result().close()
    assert len(upgraded) == 1


def test_a_migration_may_take_longer_than_other_statements(server_url, monkeypatch):
    old_database(server_url, monkeypatch)
    upgrade = database_module._upgrade

    def slow_upgrade(connection, name):
        connection.exec_driver_sql("SELECT pg_sleep(0.3)")
        upgrade(connection, name)

    monkeypatch.setattr(database_module, "_upgrade", slow_upgrade)
    with closing(Database(server_url)) as database:
        assert noted(database) == [1]
        with pytest.raises(StorageError, match="statement timeout"), database.reading() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(0.3)")


def test_a_new_database_is_opened_by_many_at_once(opened):
    ready = threading.Barrier(6)

    def use(number):
        ready.wait()
        with opened().writing() as connection:
            note(connection, number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(use, range(6)))
    assert noted(opened()) == [*range(6)]


def test_a_database_of_a_newer_version_is_refused_and_left_alone(opened, database):
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match=r"newer version.*pip install -U"):
        opened()
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"


def test_a_transaction_that_fails_leaves_nothing(database):
    def write_and_fail():
        with database.writing() as connection:
            note(connection, 1)
            raise KeyError("on purpose")

    with pytest.raises(KeyError):
        write_and_fail()
    assert noted(database) == []


def test_a_read_sees_one_state_and_stops_no_write(opened, database):
    with database.writing() as connection:
        note(connection, 1)
    other = opened()
    with database.reading() as connection:
        count = sqlalchemy.select(sqlalchemy.func.count()).select_from(schema.audit)
        assert connection.scalar(count) == 1
        started = time.monotonic()
        with other.writing() as writing:
            note(writing, 2)
        assert time.monotonic() - started < 1
        assert connection.scalar(count) == 1
    assert noted(database) == [1, 2]


def test_keys_of_one_process_are_those_of_all(opened, database):
    mine, other = Keys(database), Keys(opened())
    secret, key = mine.create("a", ["predict"], customer="bank")
    assert other.check(secret) == key
    assert key.customer == "bank"
    new, successor = other.rotate(key.id, timedelta(0))
    time.sleep(DELAY)
    with pytest.raises(AccessError, match="expired"):
        mine.check(secret)
    assert mine.check(new) == successor
    mine.revoke(successor.id)
    time.sleep(DELAY)
    with pytest.raises(AccessError, match="revoked"):
        other.check(new)


def test_changes_of_keys_by_many_processes_are_one_after_the_other(opened):
    stores = [Keys(opened()) for _ in range(4)]

    def make(keys):
        for _ in range(5):
            keys.revoke(keys.create("a", ["predict"])[1].id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, stores))
    assert [len(keys) for keys in stores] == [20] * 4


def test_watched_keys_follow_other_processes_and_need_no_query(opened, database, monkeypatch):
    monkeypatch.setattr(cached, "_REFRESH_INTERVAL", 0.02)
    keys, other = Keys(database), Keys(opened())
    keys.watch()
    try:
        secret, key = other.create("a", ["predict"])
        assert keys.check(secret) == key  # a new key works at once
        begun = []
        sqlalchemy.event.listen(database._engine, "begin", lambda _: begun.append(threading.current_thread().name))
        for _ in range(50):
            keys.check(secret)
            time.sleep(0.002)
        assert set(begun) == {"vertune-keys"}
        other.revoke(key.id)
        time.sleep(DELAY)
        with pytest.raises(AccessError, match="revoked"):
            keys.check(secret)
    finally:
        keys.close()


@pytest.mark.parametrize("url", ["mysql://root@localhost/vertune", "vertune.db", "postgresql://user:hidden@host:port/vertune", ""])
def test_a_url_that_names_no_postgresql_is_refused_without_its_password(url):
    with pytest.raises(ConfigError, match="postgresql://USER:PASSWORD") as found:
        Database(url)
    assert "hidden" not in str(found.value)


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path):
    with pytest.raises(StorageError, match="Check that the server runs") as found:
        Database(f"postgresql://user:hidden@/vertune?host={tmp_path}")
    assert "hidden" not in str(found.value)


def test_the_file_in_a_home_is_no_link(tmp_path):
    assert file_in(tmp_path) == tmp_path / FILE
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="symbolic link"):
        Database.of_home(tmp_path)


def test_an_error_does_not_quote_what_was_to_be_stored(opened):
    row = {"id": "0" * 32, "at": "", "customer": "", "vertical": "", "record": "my secret", "trust": "no number", "digest": b""}
    with pytest.raises(StorageError) as error, opened().writing() as connection:
        connection.execute(schema.feedback.insert(), [row])
    assert "my secret" not in f"{error.value} {error.value.__cause__}"
