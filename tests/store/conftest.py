"""Databases for the tests of the store: a file, and a PostgreSQL server of their own on loopback, where its programs are installed."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from vertune.store.database import FILE, Database


def _program(name: str) -> str | None:
    """The path of a program of PostgreSQL; Debian keeps most of them out of PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else shutil.which(name)


def _as_owner(folder: Path) -> list[str]:
    """What a command begins with, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    if not (switch := shutil.which("setpriv")):
        pytest.skip("PostgreSQL does not run as root, and setpriv is not installed")
    shutil.chown(folder, "nobody", "nogroup")
    return [switch, "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The URL of a PostgreSQL server without the name of a database."""
    initdb, control = _program("initdb"), _program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short, because a path of a socket is
    command = _as_owner(folder)
    user = "nobody" if command else getpass.getuser()
    data = folder / "data"
    quiet = {"check": True, "capture_output": True, "timeout": 60, "cwd": folder}
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    try:
        subprocess.run([*command, initdb, "-D", str(data), "-A", "trust", "-E", "UTF8", "--no-locale"], **quiet)
        subprocess.run([*command, control, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start"], **quiet)
        yield f"postgresql://{user}@/{{}}?host={folder}"
        subprocess.run([*command, control, "-D", str(data), "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server_url(cluster: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(cluster.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield cluster.format(name)
    with psycopg.connect(cluster.format("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is, of either kind."""
    return tmp_path / "home" / FILE if request.param == "sqlite" else request.getfixturevalue("server_url")


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
