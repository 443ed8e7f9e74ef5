"""Databases for the tests of the store: a file, and a PostgreSQL server of their own on loopback, where its programs are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from tests import databases

from vertune.core.errors import NotFound
from vertune.store import cached
from vertune.store.database import FILE, Database
from vertune.testing import postgres

DELAY = 0.1
"""Seconds for which these tests use cached rows."""


@pytest.fixture(autouse=True)
def _short_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what another process withdraws be refused soon, because many tests wait for it."""
    monkeypatch.setattr(cached, "REVOCATION_DELAY", DELAY)


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The URL of a PostgreSQL server, in which `{}` stands for the name of a database."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgres.cluster())
        except NotFound as error:
            pytest.skip(str(error))
        yield url


@pytest.fixture(scope="session")
def without_rows(cluster: str) -> str:
    """The name of a PostgreSQL database that has all tables and no rows, of which others are copies."""
    name = "without_rows"
    with psycopg.connect(cluster.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    Database(cluster.format(name)).close()
    return name


@pytest.fixture
def server_url(cluster: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, or of one with tables for tests that begin with one."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    template = f"TEMPLATE {request.getfixturevalue('without_rows')}" if begins_with_tables(request) else ""
    with psycopg.connect(cluster.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {template}")
    yield cluster.format(name)
    with psycopg.connect(cluster.format("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def begins_with_tables(request: pytest.FixtureRequest) -> bool:
    """Whether a test asks for a database, and not only for a place; making the tables takes longer than most tests."""
    return "database" in request.fixturenames


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is, of either kind, or one with tables for tests that begin with one."""
    if request.param == "postgresql":
        return request.getfixturevalue("server_url")
    file = tmp_path / "home" / FILE
    return databases.new(file) if begins_with_tables(request) else file


@pytest.fixture
def opened(location: Path | str) -> Iterator[Callable[[], Database]]:
    """Opens the database, as often as it is called; each is closed at the end."""
    databases = []

    def open_database() -> Database:
        databases.append(Database(location))
        return databases[-1]

    yield open_database
    for database in databases:
        database.close()


@pytest.fixture
def database(opened: Callable[[], Database]) -> Database:
    """A new database."""
    return opened()
