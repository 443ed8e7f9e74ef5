"""Servers under load, as benchmarks/serving.py starts, asks and stops them; knows nothing of what is compared."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import load
import matrix
import peers
from processor import code, source_hash


@dataclass(frozen=True)
class Pace:
    """How long is measured."""

    rounds: int = 5
    seconds: float = 3.0
    texts: int = 512
    overload: float = 60.0


@dataclass(frozen=True)
class Side:
    """A running server, ours or a peer's, and how it is asked."""

    process: subprocess.Popen[bytes]
    url: str
    """Of the resource that the load asks."""
    bodies: Path | None = None

    def load(self, clients: int, seconds: float, **options: Any) -> dict[str, Any]:
        """The result of a load on it, with what the server worked for an answer."""
        before = load.process_cpu(self.process.pid)
        found = load.run(self.url, self.bodies, clients=clients, seconds=seconds, **options)
        spent = load.process_cpu(self.process.pid) - before
        return found | {"server_cpu_per_answer": spent / max(1, found["codes"].get("200", 0))}

    def at(self, path: str, bodies: Path | None = None) -> Side:
        """Another resource of the same server."""
        root = self.url.split("/", 3)
        return Side(self.process, "/".join(root[:3]) + path, bodies)

    def of(self, name: str) -> Side:
        """One of its verticals, asked one text of Banking77 at a time."""
        return self.at(f"/v1/verticals/{name}/predict", written("texts", [{"texts": [text]} for text in peers.texts()]))

    def signal(self, number: int) -> None:
        """Tell the server and its children."""
        for pid in load.tree(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def serving(home: Any, names: Sequence[str] = (), *settings: str, keys: bool = False) -> Iterator[Side]:
    """`vertune serve` on these verticals of a home, or on all that are live, until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vertune", "serve", *names, "--home", str(home.folder), "--port", str(port)]
    command += [] if keys else ["--open"]
    for setting in ("cache=0", *settings):
        command += ["--set", setting]
    log = matrix.WORK / "serve.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        side = Side(subprocess.Popen(command, stdout=file, stderr=file), f"http://127.0.0.1:{port}/")
    try:
        load.wait_ready(f"{side.url}health/ready", 180, side.process)
        yield side
    except RuntimeError as error:
        error.add_note(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        side.signal(signal.SIGCONT)
        load.end(side.process, 40)


def written(name: str, bodies: Sequence[Any]) -> Path:
    """A file of requests, one a line."""
    path = matrix.WORK / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    return path


@contextlib.contextmanager
def stopped(side: Side) -> Iterator[None]:
    """A while in which a server stands still."""
    side.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        side.signal(signal.SIGCONT)


@contextlib.contextmanager
def turn(side: Side, others: Sequence[Side]) -> Iterator[None]:
    """A while in which the other servers stand still."""
    waiting = [other for other in others if other.process is not side.process]
    for other in waiting:
        other.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for other in waiting:
            other.signal(signal.SIGCONT)


def turns(sides: dict[str, Side], clients: int, pace: Pace) -> dict[str, list[dict[str, Any]]]:
    """The loads of all rounds, sides taking turns, each after a while to warm up."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(pace.rounds):
        for name, side in sides.items():
            with turn(side, list(sides.values())):
                side.load(clients, 1.0 if not number else 0.3)
                found[name].append(side.load(clients, pace.seconds))
    return found


def bar(figures: Sequence[float], limit: float, least: bool = False, figure: float | None = None) -> dict[str, Any]:
    """A bar: what is allowed at most (or at least), and the figure, else the median of the rounds, with the lowest and the highest."""
    told = statistics.median(figures) if figure is None else figure
    met = told >= limit if least else told <= limit
    return {"bar": limit, "is": "least" if least else "most", "figure": told, "low": min(figures), "high": max(figures), "met": met}


def p50(found: dict[str, Any]) -> float:
    """Seconds to the middle answer."""
    return float(found["answered"]["p50"])


def rate(found: dict[str, Any]) -> float:
    """Answers a second."""
    return float(found["requests_per_second"])


def brief(rounds: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The medians over rounds of what a load found."""
    middle = {part: [found["answered"][part] for found in rounds] for part in ("p50", "p99")}
    middle |= {key: [found[key] for found in rounds] for key in ("requests_per_second", "server_cpu_per_answer", "cpu_seconds_per_request")}
    failed = sum(found["requests"] - found["codes"].get("200", 0) for found in rounds)
    return {key: statistics.median(values) for key, values in middle.items()} | {"not_answered": failed}


@contextlib.contextmanager
def limited(threads: str, start: Callable[[], peers.Peer]) -> Iterator[peers.Peer]:
    """A peer on so many threads, or on its own number."""
    before = os.environ.get("OMP_NUM_THREADS")
    if threads != "own":
        os.environ["OMP_NUM_THREADS"] = threads
    try:
        peer = start()
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
    with peer:
        yield peer


def key(home: Any, name: str) -> str:
    """A secret that opens a server of this home."""
    from vertune.store.database import Database
    from vertune.store.keys import Keys

    with contextlib.closing(Database.of_home(home.folder)) as database:
        return str(Keys(database).create(name, ["predict"])[0])


def busy(seconds: float = 1.0) -> float:
    """Share of the processors that others use now."""

    def ticks() -> list[int]:
        return [int(part) for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]

    before = ticks()
    time.sleep(seconds)
    spent = [b - a for a, b in zip(before, ticks(), strict=True)]
    return 1 - (spent[3] + spent[4]) / sum(spent)


def source() -> str:
    """The code that is measured: the commit, and a hash of the files in `src` if they were changed since or there is no commit."""
    version = code()
    parts = [version["commit"], None if version["changed"] is False else source_hash()]
    return "-".join(part for part in parts if part)
