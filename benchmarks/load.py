"""Load over HTTP/1.1 at little cost: closed loop (clients that wait for their answers) or open loop (arrivals at a rate).

    python benchmarks/load.py --url http://127.0.0.1:8000/predict --bodies bodies.jsonl --clients 32 --seconds 5
    python benchmarks/load.py --url … --bodies … --clients 32 --rate 200           arrivals as a Poisson process
    python benchmarks/load.py --url … --bodies … --requests 3080 --keep answers.jsonl

`bodies.jsonl` holds one JSON body a line, sent in order and again from the start. Prints one JSON object:

    seconds               of sending; with --requests until the last answer
    requests              sent; `codes` counts their answers, `failures` lost connections, `unanswered` those given up on
    requests_per_second   answers of status 200 within `seconds`; in closed loop also the share of those then on their way
    answered, refused     p50, p90, p99, max of seconds to the whole answer, of status 200 and of 429 and 503
    retry_after           of refusals: how many said it, and the least and the most of it
    late                  in open loop: how long after its time a request was sent, p50 … max; large where this process is too
                          slow for the rate, or no connection was left
    cpu_seconds           of this process, also by request

In open loop the time of an answer counts from when its request should have been sent, so a server that stands still pays for all
who would have come meanwhile. A connection is opened where none is free, up to 1,024; beyond that requests wait here, on the
server's account. Answers must have a Content-Length. It knows nothing of what is asked.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import os
import random
import re
import resource
import select
import socket
import subprocess
import sys
import time
import urllib.request
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MOST = 1024
"""Connections in open loop."""
GRACE = 30.0
"""Seconds that the last answers are waited for."""
PAUSE = 0.1
"""Seconds that a client rests after a lost connection, lest a dead server be asked a million times."""
STALE = 2.0
"""Seconds after which an idle connection isn't used again: servers close theirs, uvicorn after 5, and may do so as we send."""
CHUNK = 65536
READ, WRITE = select.EPOLLIN, select.EPOLLOUT
LENGTH, CLOSE, RETRY = b"\r\ncontent-length:", b"\r\nconnection: close", re.compile(rb"\r\nretry-after: *(\d+)\r")
REFUSALS = (b"429", b"503")


@dataclass(frozen=True)
class Plan:
    """What is asked, how often and by how many."""

    url: str
    bodies: Sequence[bytes]
    clients: int = 1
    seconds: float = 5.0
    rate: float | None = None
    requests: int | None = None
    headers: tuple[str, ...] = ()
    keep: bool = False
    seed: int = 0
    method: str = "POST"

    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"Expected http://HOST:PORT/PATH, got {self.url}.")
        return socket.gethostbyname(parts.hostname), parts.port or 80

    def written(self) -> list[bytes]:
        """Every request as it goes over the wire."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"{self.method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json", *self.headers]
        head = "\r\n".join(lines).encode()
        return [b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body) for body in self.bodies]


class Connection:
    """A socket, the request that it carries, and what has come of the answer."""

    __slots__ = ("body", "busy", "closing", "due", "head", "left", "number", "open", "out", "since", "socket", "status")

    def __init__(self, stream: socket.socket) -> None:
        self.socket = stream
        self.open, self.busy, self.closing = True, False, False
        self.out = self.head = self.status = b""
        self.left = self.number = 0
        self.due = self.since = 0.0
        self.body: list[bytes] = []


class Generator:
    """One run of a plan, on one thread, with epoll and nothing above it."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.address, self.wire = plan, plan.address(), plan.written()
        if not self.wire:
            raise ValueError("There is no body to send.")
        self.epoll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.idle: list[Connection] = []
        self.waiting: deque[float] = deque()
        self.times: dict[bytes, array[float]] = {}
        self.late, self.retries = array("d"), array("d")
        self.kept: list[tuple[int, int, float, bytes]] = []
        self.sent = self.busy = self.failures = self.peak = 0
        self.inside = 0.0
        self.most = plan.requests or sys.maxsize
        self.gap = random.Random(plan.seed).expovariate
        self.last = 0.0

    def run(self) -> dict[str, Any]:
        """Send it all and say what came of it."""
        self.limit = MOST if self.plan.rate else self.plan.clients
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= soft < self.limit + 100:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.limit + 100, hard))
        for _ in range(min(self.plan.clients, self.limit)):
            self.idle.append(self._connect(wait=True))
        gc.collect()
        gc.disable()  # nothing here makes cycles, and a collection is a pause of ours that looks like one of the server's
        worked, self.start = time.process_time(), time.perf_counter()
        self.stop = self.start + (self.plan.seconds or math.inf)
        self.next = self.start
        if not self.plan.rate:
            self.waiting.extend([self.start] * min(self.plan.clients, self.most))
        self.sending = True
        try:
            self._loop()
        finally:
            gc.enable()
            for one in self.connections.values():
                one.socket.close()
            self.epoll.close()
        return self._told(time.process_time() - worked)

    def _loop(self) -> None:
        """Until all is answered or given up on."""
        poll, connections = self.epoll.poll, self.connections
        while (pause := self._dispatch(time.perf_counter())) is not None:
            if self.plan.rate and pause > 0:
                if not select.select([self.epoll], [], [], pause)[0]:  # epoll sleeps in whole milliseconds, too coarse for arrivals
                    continue
                pause = 0
            for number, event in poll(pause):
                one = connections.get(number)
                if one is None:
                    continue
                if event & WRITE and one.out:
                    self._flush(one)
                if event & ~WRITE and one.open:
                    self._read(one)

    def _dispatch(self, now: float) -> float | None:
        """Send what is due; the seconds until something is due again, or nothing at the end."""
        waiting, rate = self.waiting, self.plan.rate
        if self.sending and rate:
            until = min(now, self.stop)
            while self.next <= until and self.sent + len(waiting) < self.most:
                waiting.append(self.next)
                self.next += self.gap(rate)
        if self.sending and (now >= self.stop or self.sent + (len(waiting) if rate else 0) >= self.most):
            self.sending, self.end = False, now + GRACE
            if not rate:
                waiting.clear()
        while waiting and waiting[0] <= now and self.sent < self.most and (one := self._free(now)):
            if rate:
                self.late.append(now - waiting[0])
            self._send(one, waiting.popleft())
        if not self.sending:
            over = now > self.end or not (self.busy or waiting)
            return None if over else max(self.end - now, 0.0) + 0.001
        due = self.next if rate else waiting[0] if waiting else self.stop
        return min(max(min(due, self.stop) - now, 0.0), 1.0)

    def _free(self, now: float) -> Connection | None:
        """An open connection that carries nothing, the last used first."""
        while self.idle:
            one = self.idle.pop()
            if one.open and (not one.since or now - one.since < STALE):
                return one
            self._close(one)
        return self._connect() if len(self.connections) < self.limit else None

    def _connect(self, wait: bool = False) -> Connection:
        """A new connection; its first bytes leave when the server has taken it."""
        stream = socket.socket()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wait:
            stream.settimeout(10)
            try:
                stream.connect(self.address)
            except OSError as error:
                raise ConnectionError(f"Nobody answers at {self.plan.url}: {error}") from error
        stream.setblocking(False)
        if not wait:
            stream.connect_ex(self.address)  # what goes wrong here, the first reading says
        one = self.connections[stream.fileno()] = Connection(stream)
        self.epoll.register(stream.fileno(), READ)
        self.peak = max(self.peak, len(self.connections))
        return one

    def _send(self, one: Connection, due: float) -> None:
        """The next request, on this connection."""
        data = self.wire[self.sent % len(self.wire)]
        one.due, one.number, one.busy = due, self.sent, True
        self.sent += 1
        self.busy += 1
        try:
            gone = one.socket.send(data)
        except BlockingIOError:  # also while the connection is being made
            gone = 0
        except OSError:
            self._lost(one)
            return
        if gone < len(data):
            one.out = data[gone:]
            self.epoll.modify(one.socket.fileno(), READ | WRITE)

    def _flush(self, one: Connection) -> None:
        """What the socket could not take at once."""
        try:
            one.out = one.out[one.socket.send(one.out) :]
        except BlockingIOError:
            return
        except OSError:
            self._lost(one)
            return
        if not one.out:
            self.epoll.modify(one.socket.fileno(), READ)

    def _read(self, one: Connection) -> None:
        """The next bytes of an answer."""
        try:
            data = one.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or not one.busy:
            self._lost(one)
            return
        if one.status:
            one.left -= len(data)
        else:
            data = one.head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                one.head = data
                return
            self._headed(one, data[: end + 2].lower())
            data = data[end + 4 :]
            one.left -= len(data)
        if self.plan.keep:
            one.body.append(data)
        if one.left <= 0:
            self._answered(one)

    def _headed(self, one: Connection, head: bytes) -> None:
        """What the head of an answer says; it is in small letters and ends with its last line's end."""
        one.head, one.status = b"", head[9:12]
        place = head.find(LENGTH)
        if place < 0:
            raise ValueError(f"The answer has no Content-Length, which is all that is understood here: {head!r}")
        place += len(LENGTH)
        one.left = int(head[place : head.find(b"\r", place)])
        one.closing = CLOSE in head
        if one.status in REFUSALS and (said := RETRY.search(head)):
            self.retries.append(float(said[1]))

    def _answered(self, one: Connection) -> None:
        """Note the time, and go on with what waits."""
        now = self.last = time.perf_counter()
        status, took = one.status, now - one.due
        try:
            self.times[status].append(took)
        except KeyError:
            self.times[status] = array("d", [took])
        if status == b"200":
            if now <= self.stop:
                self.inside += 1
            elif not self.plan.rate and one.due < self.stop:
                self.inside += (self.stop - one.due) / took
        if self.plan.keep:
            self.kept.append((one.number, int(status), took, b"".join(one.body)))
            one.body = []
        one.busy, one.status = False, b""
        self.busy -= 1
        if one.closing:
            self._close(one)
            if not self.plan.rate and self.sending:
                self.waiting.append(now)
        elif self.plan.rate or not self.sending or now >= self.stop or self.sent >= self.most:
            one.since = now
            self.idle.append(one)
        else:
            self._send(one, now)

    def _lost(self, one: Connection) -> None:
        """A connection that ended; a failure where a request was on its way."""
        if one.busy:
            self.failures += 1
            self.busy -= 1
            self.last = time.perf_counter()
            if not self.plan.rate and self.sending:
                self.waiting.append(self.last + PAUSE)
        self._close(one)

    def _close(self, one: Connection) -> None:
        """End a connection, once."""
        if one.open:
            one.open = one.busy = False
            del self.connections[one.socket.fileno()]
            one.socket.close()  # which takes it out of the epoll as well

    def _told(self, worked: float) -> dict[str, Any]:
        """The result."""
        seconds = (min(self.last, self.stop) if self.plan.requests else self.stop) - self.start
        refused = array("d")
        for status in REFUSALS:
            refused.extend(self.times.get(status, ()))
        retries = {"said": len(self.retries), "least": min(self.retries), "most": max(self.retries)} if self.retries else None
        return {
            "seconds": seconds,
            "requests": self.sent,
            "codes": {status.decode(): len(times) for status, times in sorted(self.times.items())},
            "failures": self.failures,
            "unanswered": self.busy + (len(self.waiting) if self.plan.rate else 0),
            "requests_per_second": self.inside / seconds if seconds > 0 else 0.0,
            "answered": percentiles(self.times.get(b"200", ())),
            "refused": percentiles(refused),
            "retry_after": retries,
            "late": percentiles(self.late),
            "connections": self.peak,
            "cpu_seconds": worked,
            "cpu_seconds_per_request": worked / max(1, self.sent),
        }


def percentiles(times: Sequence[float]) -> dict[str, float] | None:
    """The value that so many of a hundred don't exceed."""
    found = sorted(times)
    if not found:
        return None
    ranks = {f"p{part}": found[math.ceil(part / 100 * len(found)) - 1] for part in (50, 90, 99)}
    return {**ranks, "max": found[-1]}


def load(plan: Plan, keep: Path | None = None) -> dict[str, Any]:
    """Run a plan in this process; answers go to the file `keep`, in the order of their requests."""
    generator = Generator(plan)
    result = generator.run()
    if keep:
        with keep.open("w", encoding="utf-8") as file:
            for number, status, seconds, body in sorted(generator.kept):
                with contextlib.suppress(ValueError):
                    body = json.loads(body)
                answer = body.decode(errors="replace") if isinstance(body, bytes) else body
                file.write(json.dumps({"request": number, "status": status, "seconds": seconds, "answer": answer}) + "\n")
    return result


def run(url: str, bodies: Path | None = None, core: int | None = None, **options: Any) -> dict[str, Any]:
    """The same in a process of its own, on one core when it is given; options are those of the command, `header` may be a list."""
    command = [] if core is None else ["taskset", "-c", str(core)]
    command += [sys.executable, str(Path(__file__).resolve()), "--url", url, *(["--bodies", str(bodies)] if bodies else [])]
    for name, value in options.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            command += [] if one is None else [f"--{name}", str(one)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The load on {url} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def tree(pid: int) -> list[int]:
    """A process and all that came of it and still live."""
    found = [pid]
    for one in found:
        for thread in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in thread.read_text().split()]
    return found


def process_cpu(pid: int) -> float:
    """User and system seconds of a process, its threads and its children, also of those that have ended and were waited for."""
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            said = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()  # a name may hold blanks, not its end
            ticks += sum(map(int, said[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Bytes of resident memory of a process and its children; pages that they share count for each."""
    pages = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int) -> int:
    """File descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def end(process: subprocess.Popen[Any], seconds: float) -> int | None:
    """The exit status of SIGTERM; None where the process did not end by it in so many seconds, and was killed."""
    process.terminate()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def wait_ready(url: str, seconds: float = 60.0, process: subprocess.Popen[Any] | None = None) -> float:
    """Ask until the answer has status 200; the seconds it took, or an error when they are over or the process has ended."""
    started = time.monotonic()
    last: object = "nothing"
    while (took := time.monotonic() - started) < seconds:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"The server for {url} ended with {process.returncode}.")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return took
                last = answer.status
        except OSError as error:
            last = error
        time.sleep(0.05)
    raise TimeoutError(f"{url} was not ready within {seconds:.0f} seconds: {last}")


def main() -> None:
    """Parse the command line, make the load, print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--bodies", type=Path, default=None, help="one JSON body a line; none are sent without it")
    parser.add_argument("--method", default="POST")
    parser.add_argument("--clients", type=int, default=1, help="connections")
    parser.add_argument("--seconds", type=float, default=None, help="of sending; 5, or until all --requests are answered")
    parser.add_argument("--rate", type=float, default=None, help="arrivals a second: open loop")
    parser.add_argument("--requests", type=int, default=None, help="stop after so many")
    parser.add_argument("--header", action="append", default=[], help="'Name: value', any number of them")
    parser.add_argument("--keep", type=Path, default=None, help="a file for the answers")
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals")
    options = parser.parse_args()
    seconds = options.seconds if options.seconds is not None else 0.0 if options.requests else 5.0
    bodies = [line.strip() for line in options.bodies.read_bytes().splitlines() if line.strip()] if options.bodies else [b""]
    plan = Plan(
        options.url, bodies, options.clients, seconds, options.rate, options.requests, tuple(options.header), options.keep is not None,
        options.seed, options.method,
    )  # fmt: skip
    try:
        print(json.dumps(load(plan, options.keep)))
    except (ConnectionError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
