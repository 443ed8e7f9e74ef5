"""The surroundings of a server, which trouble.py breaks: disks, databases, locks and clocks; knows nothing of what a server does."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vertune.testing import postgres

DISK = 1 << 30
"""Size of a small disk in bytes."""
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
SLEEP = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left) {
    return syscall(SYS_clock_nanosleep, clock, flags, wanted, left) ? errno : 0;
}
"""


class Unable(Exception):
    """Why something can't be broken on this machine."""


class Postgres:
    """A PostgreSQL server of its own, which can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.data = folder, folder / "data"
        self.owner = postgres._as_owner(folder)
        postgres._run(folder, [*self.owner, postgres._program("initdb"), "-D", str(self.data), "-A", "trust", "-E", "UTF8", "--no-locale"])
        self.start()
        postgres._run(folder, ["psql", self.url("postgres"), "-c", "CREATE DATABASE trouble"])

    def url(self, name: str = "trouble") -> str:
        return f"postgresql://{'nobody' if self.owner else os.environ['USER']}@/{name}?host={self.folder}"

    def start(self) -> None:
        # the log of changes must not fill the disk by itself once it was emptied
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c max_wal_size=128MB"
        self._control("-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._control("-m", mode, "stop")

    def start_if_ended(self) -> bool:
        """Start the server if it ended by itself, as its supervisor would; return whether it had."""
        command = [*self.owner, postgres._program("pg_ctl"), "-D", str(self.data), "status"]
        ended = subprocess.run(command, capture_output=True, cwd=self.folder, check=False).returncode != 0
        if ended:
            self.start()
        return ended

    def _control(self, *words: str) -> None:
        postgres._run(self.folder, [*self.owner, postgres._program("pg_ctl"), "-D", str(self.data), *words])


def processor_share() -> float:
    """The share of a processor that this process gets for a second beside all others, which every time here depends on."""
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() < began + 1:
        pass
    return round((time.process_time() - used) / (time.monotonic() - began), 2)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[str]:
    """A small disk at a folder while the block runs; yields why there is none, or nothing."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0755", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        yield done.stderr.strip() if done.returncode else ""
    finally:
        if not done.returncode:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Write a file until the disk is full, and once more after what was freed meanwhile."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\1" * size):
                    pass


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process holds the lock of writers of a SQLite database while the block runs."""
    program = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).execute('BEGIN EXCLUSIVE'); print(1, flush=True); input()"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        assert child.stdout.readline() == "1\n"
        yield
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def between(begin: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    """A trouble that begins and ends with two calls."""
    begin()
    try:
        yield
    finally:
        end()


class Clock:
    """The clock of servers that are started with its environment; raises Unable where it can't be set.

    libfaketime 0.9.10 fails each sleep until a time of the monotonic clock, as Python sleeps, so a library before it hands these to the
    kernel.
    """

    def __init__(self, folder: Path) -> None:
        if not FAKETIME.exists():
            raise Unable("libfaketime is not installed: apt-get install faketime")
        if not shutil.which("cc"):
            raise Unable("there is no C compiler: apt-get install gcc")
        self.file, source, library = folder / "clock", folder / "sleep.c", folder / "sleep.so"
        source.write_text(SLEEP)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self.environment = {
            "LD_PRELOAD": f"{library}:{FAKETIME}", "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set the clock so many seconds before or after the right time, within a second."""
        temporary = self.file.with_suffix(".new")
        temporary.write_text(f"{seconds:+d}\n")
        temporary.replace(self.file)
