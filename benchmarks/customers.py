"""20,000 requests of four customers, once all ordinary and once with 5 % hostile ones: does anybody else notice?

    python benchmarks/customers.py [--requests 20000] [--rounds 3]

A `vertune serve` process answers for verticals of several tasks on a tiny base (those of soak.py). Each customer has a key and asks over
connections of its own; one of them sends the hostile requests too: broken and huge JSON, texts of megabytes, other customers' verticals,
wrong keys, half a request, second requests hidden in the first. Ordinary and hostile rounds take turns, after a round that warms up.

`p99` is that of the three other customers, in seconds; `hung` counts requests without a response 5 s after their deadline, `wrong` any
ordinary request that was not answered with 200 and any hostile one that was, and `crashed` responses of status 500. Memory and open
files of the server are read after each round, when all connections are closed. Results go to benchmarks/results/customers.json.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import load
import soak
from processor import measured_here

OUT = Path(__file__).resolve().parent / "results" / "customers.json"
CUSTOMERS = ("bank", "clinic", "school", "shop")
HOSTILE = "shop"
SHARE = 0.05
CONNECTIONS = 2
"""Connections of a customer that ask at the same time."""
DEADLINE, GRACE = 5.0, 5.0
VERTICALS = ("intent", "spans", "find", "whole")
GROWTH = 0.05
"""Memory and open files may grow by this share from the first measured round to the last."""


@dataclass
class Round:
    """What happened in one round."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CUSTOMERS})
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, about: str = "") -> None:
        with self.lock:
            self.counts[what] += 1
            if about and len(self.examples) < 20:
                self.examples.append(f"{what}: {about[:300]}")


class Wire:
    """One connection, opened again where the server closed it."""

    def __init__(self, port: int) -> None:
        self.port, self.socket = port, None

    def ask(self, sent: bytes) -> bytes | None:
        """Send bytes; return the status of the response, `closed` for none, or None where nothing came in time."""
        for attempt in (0, 1):
            fresh = self.socket is None
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE + GRACE)
            try:
                self.socket.sendall(sent)
                found = self._response()
            except TimeoutError:
                self.close()
                return None
            except OSError:
                self.close()
                found = b"closed"
            if found != b"closed" or fresh or attempt:  # a kept connection may have been closed since the last request
                return found
            self.close()
        return b"closed"

    def _response(self) -> bytes:
        assert self.socket
        got = b""
        while b"\r\n\r\n" not in got:
            more = self.socket.recv(65536)
            if not more:
                self.close()
                return b"closed"
            got += more
        head, _, body = got.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
        while len(body) < length:
            more = self.socket.recv(65536)
            if not more:
                break
            body += more
        if b"connection: close" in lines:
            self.close()
        return head.split(b" ")[1]

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket = None


def request(path: str, body: bytes, key: str, more: str = "") -> bytes:
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}X-Deadline-Ms: {DEADLINE * 1000:.0f}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def ordinary(draw: random.Random, key: str, texts: list[str]) -> bytes:
    """A request of one of the usual kinds and sizes."""
    chosen = [f"{text} {draw.randrange(10**9)}" for text in draw.choices(texts, k=draw.choice((1, 1, 1, 2, 5, 20)))]  # none is cached
    kind = draw.random()
    if kind < 0.7:
        return request(f"/v1/verticals/{draw.choice(VERTICALS)}/predict", json.dumps({"texts": chosen}).encode(), key)
    if kind < 0.9:
        verticals = draw.sample(VERTICALS, draw.randint(1, 3))
        return request("/v1/predict", json.dumps({"verticals": verticals, "texts": chosen}).encode(), key)
    return request("/v1/embeddings", json.dumps({"model": "find", "input": chosen}).encode(), key)


PREDICT = "/v1/verticals/intent/predict"
UNANSWERED = ("half", "gone")
"""Attacks after which the client leaves at once."""


def attacks(key: str) -> dict[str, bytes]:
    """Requests that must not be answered with 200; made before the clock starts, because the clients share one interpreter."""
    return {
        "broken": request(PREDICT, b'{"texts": ["a"', key),
        "number": request(PREDICT, b'{"texts": [1e400, NaN]}', key),
        "deep": request(PREDICT, b'{"texts": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", key),
        "bytes": request(PREDICT, b'{"texts": ["\xff\xfe\x00"]}', key),
        "many": request(PREDICT, json.dumps({"texts": ["a"] * 100_000}).encode(), key),
        "large": request(PREDICT, json.dumps({"texts": ["x y " * 4_000_000]}).encode(), key),
        "other": request("/v1/verticals/../admin/predict", b'{"texts": ["a"]}', key),
        "unknown": request("/v1/verticals/nobody/predict", b'{"texts": ["a"]}', key),
        "key": request(PREDICT, b'{"texts": ["a"]}', key[:-4] + "AAAA"),
        "rights": request("/v1/keys", b'{"name": "mine", "scopes": ["admin"]}', key),
        "chunks": request(PREDICT, b"zz\r\n", key, "Transfer-Encoding: chunked\r\n"),
        "upgrade": request(PREDICT, b"GET /v1/keys HTTP/1.1\r\n\r\n", key, "Upgrade: h2c\r\nConnection: Upgrade\r\n"),
        "header": request(PREDICT, b"{}", key, f"X-Long: {'a' * 100_000}\r\n"),
        "gone": (whole := request(PREDICT, json.dumps({"texts": ["tell me of rome"] * 20}).encode(), key)),
        "half": whole[: len(whole) // 2],
        "nothing": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    }  # fmt: skip


def attack(draw: random.Random, port: int, hostile: dict[str, bytes], found: Round) -> None:
    """Send one hostile request."""
    kind = draw.choice(list(hostile))
    found.count("hostile")
    if kind in UNANSWERED:
        with socket.create_connection(("127.0.0.1", port)) as alone:
            alone.sendall(hostile[kind])
        return
    wire = Wire(port)
    status = wire.ask(hostile[kind])
    wire.close()
    if status is None:
        found.count("hung", kind)
    elif status == b"200":
        found.count("wrong", f"{kind} was answered")
    elif status == b"500":
        found.count("crashed", kind)


def customer(name: str, port: int, asked: tuple[str, list[str], dict[str, bytes]], plan: tuple[int, float, int], found: Round) -> None:
    """The requests of one connection of a customer: their number, the share of hostile ones, and the seed."""
    (number, share, seed), (key, texts, hostile) = plan, asked
    draw, wire = random.Random(seed), Wire(port)
    for _ in range(number):
        if draw.random() < share:
            attack(draw, port, hostile, found)
            continue
        began = time.perf_counter()
        status = wire.ask(ordinary(draw, key, texts))
        found.seconds[name].append(time.perf_counter() - began)
        if status is None:
            found.count("hung", "ordinary")
        elif status != b"200":
            found.count("crashed" if status == b"500" else "wrong", f"an ordinary request of {name}: {status!r}")
    wire.close()


def play(server: soak.Server, keys: dict[str, str], texts: list[str], requests: int, hostile: bool, seed: int) -> dict[str, Any]:
    """One round; what came of it, and what the server then holds."""
    found, each = Round(), requests // (len(CUSTOMERS) * CONNECTIONS)
    bad = attacks(keys[HOSTILE])
    shares = {name: SHARE * len(CUSTOMERS) if hostile and name == HOSTILE else 0.0 for name in CUSTOMERS}
    threads = [
        threading.Thread(
            target=customer, args=(name, server.port, (keys[name], texts, bad), (each, shares[name], seed * 100 + place), found)
        )
        for place, name in enumerate(name for name in CUSTOMERS for _ in range(CONNECTIONS))
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    time.sleep(2)
    others = sorted(value for name in CUSTOMERS if name != HOSTILE for value in found.seconds[name])
    return {
        "hostile": hostile, "requests": sum(map(len, found.seconds.values())) + found.counts["hostile"], "seconds": round(seconds, 1),
        "p50": statistics.median(others), "p99": others[int(0.99 * len(others))],
        **{what: found.counts[what] for what in ("hung", "wrong", "crashed")}, "attacks": found.counts["hostile"],
        "memory": server.memory(), "files": load.open_files(server.child.pid), "examples": found.examples,
    }  # fmt: skip


def key_of(home: Path, name: str) -> str:
    """A new key that may ask the verticals."""
    command = [sys.executable, "-m", "vertune", "key", "create", name, "--scope", "predict", "--home", str(home)]
    return str(re.search(r"vt_[0-9a-f]{12}_[\w-]+", subprocess.run(command, check=True, capture_output=True, text=True).stdout)[0])  # type: ignore[index]


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind, in turns")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = soak.home_of(Path(folder))
        keys = {name: key_of(home.folder, name) for name in CUSTOMERS}
        server = soak.Server(home, breakable=False)
        texts = soak.drawn(random.Random(0))
        try:
            play(server, keys, texts, options.requests, True, 0)  # fills the cache of answers
            rounds = [
                play(server, keys, texts, options.requests, hostile, 1 + number)
                for number, hostile in enumerate([False, True] * options.rounds)
            ]
        finally:
            status = server.end()
    pairs = list(zip(rounds[::2], rounds[1::2], strict=True))
    ratios = sorted(attacked["p99"] / calm["p99"] for calm, attacked in pairs)
    grown = {name: rounds[-1][name] / rounds[0][name] for name in ("memory", "files")}
    bad = {what: sum(one[what] for one in rounds) for what in ("hung", "wrong", "crashed")}
    result = {
        "rounds": rounds, "p99_ratio": {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}, "grown": grown, **bad,
        "exit": status, "passed": not any(bad.values()) and statistics.median(ratios) <= 2 and max(grown.values()) <= 1 + GROWTH,
        **measured_here(),
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("p99_ratio", "grown", "hung", "wrong", "crashed", "exit", "passed")}, indent=1))
    sys.exit(not result["passed"])


if __name__ == "__main__":
    main()
