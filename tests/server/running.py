"""A server on loopback inside the process of a test, and what asks it; knows nothing of what is asked."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest

from tests import databases
from vertune.core.artifact import Home
from vertune.server import run
from vertune.server.service import Service
from vertune.server.settings import RequestLimits, SessionSettings, Settings
from vertune.store.database import FILE, Database
from vertune.store.keys import Keys

LONG = 60.0
"""Seconds after which a test that waits has failed."""


class Running:
    """A server in a thread, asked over real connections; `ask` is a client with its key, `stranger` one without."""

    def __init__(
        self, home: Home, key: str | None = None, limits: dict[str, Any] | None = None, only: Iterable[str] = (), good: bool = True,
        **settings: Any,
    ):  # fmt: skip
        """Without a key, it is open for everything. Unless `good` is false, all live models must be served when it is entered."""
        cheap = SessionSettings(password_kibibytes=8, password_rounds=1)
        given = {"host": "127.0.0.1", "port": 0, "threads": 1, "cache": 0, "open": key is None, "open_scope": "admin", "sessions": cheap}
        given |= settings
        self.database = Database(databases.new(home.folder / ("open.db" if key is None else FILE)))
        self.service = Service(Settings(**given, limits=RequestLimits(**(limits or {}))), home, self.database, frozenset(only))
        self._good = good
        self.keys = None if key is None else Keys(self.database)
        self.url = ""
        self.error: BaseException | None = None
        self._key = key
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._live, name="server")

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._started.wait(LONG)
        if self.error:
            raise self.error
        until(lambda: self.service.loaded)
        assert not (self._good and self.service.aliases.pending), self.service.aliases.pending
        self.port = int(self.url.rpartition(":")[2])
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self.ask = httpx.Client(
            base_url=self.url, headers=headers, timeout=LONG, trust_env=False, verify=False
        )  # certificates take long to read
        self.stranger = httpx.Client(base_url=self.url, timeout=LONG, trust_env=False, verify=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.ask.close()
        self.stranger.close()
        self.stop()
        self._thread.join(2 * LONG)
        assert not self._thread.is_alive()
        self.database.close()
        if self.error:
            raise self.error

    def stop(self) -> None:
        """Tell it to stop, as SIGTERM does."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)

    def predict(self, name: str, *texts: str, **headers: str) -> httpx.Response:
        """Ask one vertical."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.ask.post(f"/v1/verticals/{name}/predict", json={"texts": list(texts)}, headers=named)

    def connections(self) -> int:
        """How many are open."""
        return len(self._server.server_state.connections)

    def connection(self, wire: Wire) -> Any:
        """Its own end of a connection; None where it has let go."""
        mine = wire.socket.getsockname()
        return next((one for one in tuple(self._server.server_state.connections) if one.client == mine), None)

    def metric(self, name: str, **labels: str) -> float:
        """One number of /metrics, 0 where it was never counted."""
        from prometheus_client.parser import text_string_to_metric_families

        page = self.service.metrics.page().decode()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def _live(self) -> None:
        try:
            with asyncio.Runner(loop_factory=run._loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self.error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def started(url: str) -> None:
            self.url = url
            self._started.set()

        own = run._Server.__init__

        def seen(server: Any, config: Any) -> None:
            patch.undo()  # else a server that starts while this one runs would be taken for it
            own(server, config)
            self._server = server

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run._Server, "__init__", seen)
            await run.run(self.service, self.keys, started, self._stop)


class Wire:
    """A bare connection, for what no well-behaved client sends."""

    def __init__(self, port: int, *sent: bytes, buffer: int | None = None, source: str = "") -> None:
        """`buffer` is how many bytes the kernel keeps of what comes and is not read; `source` is the address that it comes from."""
        self._came = b""
        """What came after the last response that was read."""
        self.socket = socket.socket()
        self.socket.settimeout(LONG)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.send(*sent)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Send each part by itself."""
        for place, part in enumerate(parts):
            if place:
                time.sleep(0.02)  # else the kernel may hand them over as one
            self.socket.sendall(part)

    def end(self) -> bytes:
        """All that comes until the server closes."""
        found, self._came = self._came, b""
        while True:
            try:
                piece = self.socket.recv(65536)
            except ConnectionError:
                return found
            if not piece:
                return found
            found += piece

    def answer(self) -> tuple[int, bytes]:
        """The status and body of one response that has a length."""
        found = self._came
        while b"\r\n\r\n" not in found:
            piece = self.socket.recv(65536)
            assert piece, found
            found += piece
        head, _, body = found.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
        while len(body) < length:
            piece = self.socket.recv(65536)
            assert piece, body
            body += piece
        self._came = body[length:]
        return int(head.split()[1]), body[:length]


def request(path: str, body: bytes = b"", *headers: str, method: str = "POST", length: int | None = None) -> bytes:
    """The bytes of a request."""
    said = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    if not any(header.lower().startswith("transfer-encoding") for header in headers):
        said.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(said).encode() + b"\r\n\r\n" + body


def same(found: Any, expected: Any, gap: float = 1e-4) -> bool:
    """Whether two answers say the same, numbers within a gap."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and found.keys() == expected.keys() and all(same(found[key], expected[key], gap) for key in expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(same(ours, theirs, gap) for ours, theirs in zip(found, expected, strict=True))
    return abs(found - expected) <= gap if isinstance(expected, float) else bool(found == expected)


def problem(response: httpx.Response, status: int) -> str:
    """The detail of an answer that must be this problem."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told.keys() == {"title", "status", "detail"}
    assert told["status"] == status
    return str(told["detail"])


def until(condition: Callable[[], Any], seconds: float = LONG) -> Any:
    """Wait for what no event tells."""
    began, pause = time.monotonic(), 0.002
    while not (found := condition()):
        assert time.monotonic() < began + seconds, "what was waited for did not come"
        time.sleep(pause)
        pause = min(0.05, 1.2 * pause)  # what asks a server takes time from it
    return found


def together(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Do all of these at once, a thread each; their results in order."""
    from concurrent.futures import ThreadPoolExecutor

    listed = list(calls)
    with ThreadPoolExecutor(len(listed)) as pool:
        return [future.result(LONG) for future in [pool.submit(call) for call in listed]]
