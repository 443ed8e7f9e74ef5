"""Starts a PostgreSQL server of its own on a socket in a temporary folder, for tests and measurements; knows nothing of tables."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vertune.core.errors import NotFound

_TIMEOUT = 60
_MEMORY = Path("/dev/shm")  # noqa: S108
_LEAST_FREE = 1 << 30
"""Bytes that must be free in memory for databases to be there: each is 300 files, which a disk takes 20 times as long to make."""


@contextmanager
def cluster(durable: bool = False, folder: Path | None = None) -> Iterator[str]:
    """Run the `with` block while the server runs; yields the URL of a database, in which `{}` stands for the name of the database.

    The database `postgres` exists. With `durable`, a transaction is on the disk when it ends. `folder` holds the databases and stays, so
    that the next server with it has them; without it, they are deleted. Raises NotFound if PostgreSQL is not installed, or can't run as
    this user.
    """
    initdb, control = _program("initdb"), _program("pg_ctl")
    # a short name, because a path of a socket is
    socket = Path(tempfile.mkdtemp(prefix="pg", dir=None if durable or folder else _in_memory()))
    home = folder or socket
    home.mkdir(parents=True, exist_ok=True)
    try:
        as_owner = _as_owner(socket, home)
        user = "nobody" if as_owner else getpass.getuser()
        data = home / "data"
        options = f"-c listen_addresses='' -c unix_socket_directories={socket} -c fsync={'on' if durable else 'off'}"
        if not data.exists():
            _run(socket, [*as_owner, initdb, "-D", str(data), "-A", "trust", "-E", "UTF8", "--no-locale"])
        _run(socket, [*as_owner, control, "-D", str(data), "-w", "-l", str(socket / "log"), "-o", options, "start"])
        try:
            yield f"postgresql://{user}@/{{}}?host={socket}"
        finally:
            _run(socket, [*as_owner, control, "-D", str(data), "-m", "immediate" if folder is None else "fast", "stop"])
    finally:
        shutil.rmtree(socket, ignore_errors=True)


def _in_memory() -> Path | None:
    """Return a folder whose files are kept in memory; None if there is none with enough room."""
    room = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _LEAST_FREE
    return _MEMORY if room else None


def _run(folder: Path, command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT, cwd=folder)  # noqa: S603


def _program(name: str) -> str:
    """Return the path of a program of PostgreSQL; Debian keeps most of them out of PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(installed[-1]) if installed else shutil.which(name)
    if found is None:
        raise NotFound(f"The program {name} of PostgreSQL is not installed. Install it with apt-get install postgresql.")
    return found


def _as_owner(*folders: Path) -> list[str]:
    """Return what a command begins with, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    switch = shutil.which("setpriv")
    if switch is None:
        raise NotFound("PostgreSQL does not run as root, and setpriv is not installed. Install it with apt-get install util-linux.")
    for folder in folders:
        shutil.chown(folder, "nobody", "nogroup")
    return [switch, "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
