"""A client of conversations over HTTP/1.1 at little cost, and servers with the ledger app that start by a fork; for three benchmarks.

A process that has imported everything forks a server in some milliseconds (`Servers`), so that servers can be killed often. The ledger app
needs no model: each of its replies proves from which state it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds to wait for a server to answer."""


class Line:
    """One connection, which is opened again when it is lost."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: Any = None, headers: str = "") -> tuple[int, bytes]:
        """Send a request, and return status and body of the answer; raise OSError if the connection is lost."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        about = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\n{about}{headers}\r\n"
        try:
            if self._writer is None or self._writer.is_closing():
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
            assert self._reader is not None
            self._writer.write(head.encode("latin-1") + content)
            answer = await self._reader.readuntil(b"\r\n\r\n")
            status, length = int(answer[9:12]), 0
            for line in answer.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            return status, await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.close()
            raise ConnectionError(str(error)) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


# ------------------------------------------------------------------ servers


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Servers:
    """Servers on one database, each a fork of a process that has imported everything."""

    def __init__(self, home: Path, database: str | None = None, settings: dict[str, Any] | None = None, losing: float = 0.0) -> None:
        """`losing` is the probability that a server kills itself before or after a transaction."""
        told = {"home": str(home), "database": database, "settings": settings or {}, "losing": losing}
        self._log = (home / "servers.log").open("ab")
        self._zygote = subprocess.Popen(
            [sys.executable, __file__, json.dumps(told)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env={"OPENBLAS_NUM_THREADS": "1", **os.environ},  # as `vertune serve` does
        )  # fmt: skip
        self.pids: dict[int, int] = {}
        """The process of each server by its port."""
        self.starts = 0

    def start(self, port: int) -> int:
        """Start a server at a port, and return the id of its process."""
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(f"{port}\n")
        self._zygote.stdin.flush()
        self.pids[port] = int(self._zygote.stdout.readline())
        self.starts += 1
        return self.pids[port]

    def alive(self, port: int) -> bool:
        """Return whether the server at a port runs."""
        with contextlib.suppress(OSError, IndexError):
            state = Path(f"/proc/{self.pids[port]}/stat").read_text().rpartition(")")[2].split()[0]
            return state not in ("Z", "X")
        return False

    def kill(self, port: int) -> None:
        """Kill the server at a port."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids[port], signal.SIGKILL)

    def close(self) -> None:
        """Kill all servers."""
        for port in self.pids:
            self.kill(port)
        self._zygote.kill()
        self._zygote.wait()
        self._log.close()

    async def ready(self, port: int) -> None:
        """Wait until a server answers."""
        line, end = Line(port), time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                status, content = await line.send("GET", "/v1/apps")
                if status == 200 and json.loads(content)["apps"]:  # products are opened after the server listens
                    line.close()
                    return
            except OSError:
                await asyncio.sleep(0.05)
        raise TimeoutError(f"The server at port {port} did not answer; see servers.log in its home.")


def serve(told: dict[str, Any], port: int) -> None:
    """Serve the ledger app, or the products of the home if there are some."""
    import os as system

    from vertune.core.artifact import Home
    from vertune.server.chat import acting, chats
    from vertune.server.run import serve as run
    from vertune.server.service import Service
    from vertune.server.settings import ChatSettings, Settings
    from vertune.store import actions
    from vertune.store.database import Database
    from vertune.testing.ledger import NAME, ledger

    random.seed()
    # what a killed server was about to call is called by the next one after 3 s instead of 15 s, and pauses grow to 4 s instead of 5 min
    acting._RESERVE, actions.LONGEST_PAUSE = 3.0, timedelta(seconds=4)
    home, losing = Home(Path(told["home"])), float(told["losing"])
    if losing:
        transaction = Database._transaction

        @contextlib.contextmanager
        def transacting(self: Database, wait: float | None, immediate: bool) -> Any:
            with transaction(self, wait, immediate) as connection:
                yield connection
                if immediate and random.random() < losing:
                    system.kill(system.getpid(), signal.SIGKILL)  # before the commit
            if immediate and random.random() < losing:
                system.kill(system.getpid(), signal.SIGKILL)  # after it, before anybody knows

        Database._transaction = transacting  # type: ignore[method-assign,assignment]
    if not home.aliases("products"):
        product = ledger(home.folder / "ledger")
        chats.LiveProducts.get = lambda self, name: product  # type: ignore[method-assign]
        chats.LiveProducts.update = lambda self: self.products.update({NAME: product})  # type: ignore[method-assign]
    settings = Settings(
        host="127.0.0.1", port=port, open=True, open_scope="admin", console=False, threads=1, chat=ChatSettings(**told["settings"])
    )
    database = Database(told["database"] or home.folder / "server.db")
    run(Service(settings, home, database), None, lambda url: None)


def zygote(told: dict[str, Any]) -> None:
    """Import everything, then fork a server for each line of the standard input."""
    import vertune.cli.serve
    import vertune.server.discovery
    import vertune.server.run
    import vertune.testing.ledger

    vertune.server.discovery.find_routes()
    vertune.testing.ledger.ledger(Path(told["home"]) / "ledger")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that no killed server stays a zombie
    while line := sys.stdin.readline():
        if (pid := os.fork()) == 0:
            sys.stdin.close()
            os.dup2(2, 1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve(told, int(line))
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    zygote(json.loads(sys.argv[1]))
