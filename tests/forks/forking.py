"""The process that has imported what is heavy and forks: for each connection one process, until whoever it belongs to ends."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass

HEAVY = (
    "torch", "transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert", "accelerate", "onnx", "polars",
    "sqlalchemy", "alembic.command", "sklearn.linear_model", "sklearn.feature_extraction.text", "scipy.stats", "tokenizers",
    "vertune.cli", "vertune.server.run", "vertune.server.searching", "vertune.server.service", "vertune.steps.fit",
    "vertune.steps.label", "vertune.steps.predict", "vertune.steps.rank", "vertune.steps.retrain", "vertune.runtime.fleet",
)  # fmt: skip
"""What is imported before; what it lacks, a fork imports itself."""
FOLDERS = ("cleaners", "encoders", "masks", "methods", "sources", "splits", "tasks")
"""The folders of parts that are imported before, because most forks need some of each."""


@dataclass(eq=False)
class _Child:
    """A fork, the connection of the process that stands for it, and what tells of its end."""

    process: int
    connection: socket.socket
    end: int

    def send(self, number: int) -> None:
        """Send a signal to the process and those that it started; it has a group as soon as it runs."""
        for call in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                call(self.process, number)


class Forking:
    """Listens, forks, hands signals on, and tells how processes ended."""

    def __init__(self, where: str, owner: int) -> None:
        """`owner` is the process with which this one ends; if it is 0, this one ends when its standard input is closed."""
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{where}.new")
        self._listener.listen(64)
        os.rename(f"{where}.new", where)  # noqa: PTH104 - whoever finds it can connect
        self._children: list[_Child] = []
        self._end = os.pidfd_open(owner) if owner else 0
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._end, selectors.EVENT_READ)

    def run(self) -> None:
        """Fork until the owner ends, and end all that runs then."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == self._end:
                    for child in self._children:
                        child.send(signal.SIGKILL)
                    return
                if key.fileobj is self._listener:
                    self._fork(self._listener.accept()[0])
                elif key.data in self._children:
                    self._follow(key.data, key.fileobj is key.data.connection)

    def _fork(self, connection: socket.socket) -> None:
        head, streams, *_ = socket.recv_fds(connection, 8, 3)
        with connection.makefile("rb") as file:
            number, *given = file.read(int.from_bytes(head, "big")).decode(errors="surrogateescape").split("\0")
        words, (folder, *environment) = given[: int(number)], given[int(number) :]
        process = os.fork()
        if process == 0:
            try:
                self._forget(connection)
                _become(streams, folder, dict(entry.split("=", 1) for entry in environment))
                _work(words)
            finally:
                os._exit(70)  # whatever happened, there is one process that forks
        for stream in streams:
            os.close(stream)
        child = _Child(process, connection, os.pidfd_open(process))
        self._children.append(child)
        self._selector.register(connection, selectors.EVENT_READ, child)
        self._selector.register(child.end, selectors.EVENT_READ, child)

    def _follow(self, child: _Child, said: bool) -> None:
        """Hand on what the other end said, which has died if that is nothing; or tell it how the process ended."""
        if said:
            with suppress(ConnectionError):
                if numbers := child.connection.recv(16):
                    for number in numbers:
                        child.send(number)
                    return
            child.send(signal.SIGKILL)
            self._selector.unregister(child.connection)
            return
        status = os.waitstatus_to_exitcode(os.waitpid(child.process, 0)[1])
        with suppress(OSError):
            child.connection.sendall(b"s" + bytes([-status]) if status < 0 else b"e" + bytes([status]))
        with suppress(KeyError):
            self._selector.unregister(child.connection)
        self._selector.unregister(child.end)
        self._children.remove(child)
        child.connection.close()
        os.close(child.end)

    def _forget(self, connection: socket.socket) -> None:
        """Close what is of this process alone, in the one that was forked."""
        self._selector.close()
        for child in self._children:
            child.connection.close()
            os.close(child.end)
        self._listener.close()
        connection.close()
        if self._end:
            os.close(self._end)


def _become(streams: list[int], folder: str, environment: dict[str, str]) -> None:
    """Take over the streams, folder and environment, lead a group, and be as urgent as others: a test waits for it."""
    os.setsid()
    os.nice = lambda increment: 0  # type: ignore[assignment]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    tempfile.tempdir = None  # it may be another one in that environment


def _work(words: list[str]) -> None:
    """Run a module as `python -m` does, or a file, and end as Python does, without what the process that forked would do at its end."""
    sys.argv = words
    code: int | str | None = 0
    try:
        if words[0].endswith(".py"):
            runpy.run_path(words[0], run_name="__main__")
        else:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as left:
        code = left.code  # type: ignore[assignment]
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


def main(where: str, owner: str) -> None:
    """Import, listen, and fork."""
    gc.disable()  # what is imported is no garbage; looking for some takes a fifth of the time
    for name in HEAVY:  # of whose threads, all idle, forks have none: those of the allocators of Polars and Arrow, and one of ONNX Runtime
        importlib.import_module(name)
    for folder in FOLDERS:
        for found in pkgutil.iter_modules(importlib.import_module(f"vertune.{folder}").__path__, f"vertune.{folder}."):
            importlib.import_module(found.name)
    gc.enable()
    gc.freeze()  # else the first collection of each fork copies all that was imported
    Forking(where, int(owner)).run()


main(*sys.argv[1:])
