"""How fast messages of 50 conversations at once are answered over HTTP, with all of them stored.

    python benchmarks/chat_load.py [--rounds 5] [--seconds 8] [--rate 200] [--home HOME --app NAME --texts FILE [--new]]

A server of its own answers with the ledger app, which needs no model, so that what is measured is the server and its store; or with the
live product NAME of a home, and the texts of a file with labelled conversations. The server keeps predictions for texts that it has had;
with --new, each text gets another number, so that none is known. Each of 50 conversations has a connection. Two loads take turns in rounds:
an open loop, in which messages are due as a Poisson process at `--rate` in all, and the time of one counts from when it was due; and a
closed loop, in which each conversation sends as soon as it has its reply. Beside them, the same connections ask for `/health/live` in a
closed loop, which bounds what a request can cost, and a write to the disk that waits for it is timed.

Results: benchmarks/results/chat_load.json, with a case for each app, and one for new texts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from chat_client import Line, Servers, free_port
from processor import code, measured_here

from vertune.core.files import write_json

OUT = Path(__file__).parent / "results" / "chat_load.json"
CONVERSATIONS = 50
WARM_UP = 3.0
"""Seconds of the load before the first round."""


class Person:
    """One conversation on a connection of its own."""

    def __init__(self, port: int, app: str, texts: Iterator[str], seed: int) -> None:
        self.line, self.app, self.texts = Line(port), app, texts
        self.draw, self.number, self.headers, self.path = random.Random(seed), 0, "", ""
        self.times: list[float] = []
        self.refused = 0

    async def begin(self) -> None:
        status, content = await self.line.send("POST", f"/v1/apps/{self.app}/conversations", {})
        assert status == 201, content
        begun = json.loads(content)
        self.headers = f"X-Conversation-Token: {begun['token']}\r\n"
        self.path, self.number = f"/v1/apps/{self.app}/conversations/{begun['id']}/messages", 0

    async def say(self, due: float) -> None:
        self.number += 1
        body = {"message": f"m{self.number}", "sequence": self.number, "text": next(self.texts)}
        status, content = await self.line.send("POST", self.path, body, self.headers)
        if status != 200 or b'"stage":"bot"' not in content or self.number >= 400:  # a conversation that was handed over begins anew
            self.refused += status != 200
            await self.begin()
        else:
            self.times.append(time.perf_counter() - due)


def drawn(texts: Sequence[str], new: bool) -> Iterator[str]:
    """Yield texts without an end; with `new`, each with another number of at most four digits, which is no number of an order."""
    draw = random.Random(0)
    for number in count():
        text = draw.choice(texts)
        yield f"{text} {number % 10_000}" if new else text


async def open_loop(people: list[Person], rate: float, seconds: float) -> float:
    """Let messages be due as a Poisson process; return the messages per second that were answered."""
    start = time.perf_counter()

    async def talk(person: Person) -> None:
        due = start
        while True:
            due += person.draw.expovariate(rate / len(people))
            if due > start + seconds:
                return
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await person.say(due)

    await asyncio.gather(*map(talk, people))
    return sum(len(person.times) for person in people) / max(seconds, time.perf_counter() - start)


async def closed_loop(people: list[Person], seconds: float) -> float:
    """Let each conversation send as soon as it has its reply; return the messages per second."""
    end = time.perf_counter() + seconds

    async def talk(person: Person) -> None:
        while time.perf_counter() < end:
            await person.say(time.perf_counter())

    await asyncio.gather(*map(talk, people))
    return sum(len(person.times) for person in people) / seconds


async def empty_loop(people: list[Person], seconds: float) -> float:
    """Ask for nothing; return the requests per second."""
    end, answered = time.perf_counter() + seconds, 0

    async def ask(person: Person) -> None:
        nonlocal answered
        while time.perf_counter() < end:
            await person.line.send("GET", "/health/live")
            answered += 1

    await asyncio.gather(*map(ask, people))
    return answered / seconds


def taken(people: list[Person]) -> dict[str, Any]:
    """Return the percentiles of the times in milliseconds, and forget them."""
    times = sorted(value for person in people for value in person.times)
    refused = sum(person.refused for person in people)
    for person in people:
        person.times, person.refused = [], 0
    at = {f"p{share:g}": 1000 * times[min(len(times) - 1, int(share / 100 * len(times)))] for share in (50, 90, 99)} if times else {}
    return {"messages": len(times), "refused": refused, **{name: round(value, 2) for name, value in at.items()}}


def waiting_for_the_disk(folder: Path) -> float:
    """Return the median of milliseconds that a small write takes until it is on the disk."""
    times = []
    with (folder / "disk").open("wb", buffering=0) as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


async def measure(options: argparse.Namespace, servers: Servers, folder: Path, texts: list[str]) -> dict[str, Any]:
    port = free_port()
    process = psutil.Process(servers.start(port))
    await servers.ready(port)
    source = drawn(texts, options.new)
    people = [Person(port, options.app, source, seed) for seed in range(CONVERSATIONS)]
    await asyncio.gather(*(person.begin() for person in people))
    while not people[0].times:  # the models of a product are loaded after the server listens
        await people[0].say(time.perf_counter())
        await asyncio.sleep(0.2)
    await open_loop(people, options.rate, WARM_UP)
    taken(people)
    rounds: list[dict[str, Any]] = []
    for _ in range(options.rounds):
        before, load = sum(process.cpu_times()[:2]), os.getloadavg()[0]
        found = {"rate": round(await open_loop(people, options.rate, options.seconds), 1), **taken(people)}
        used = 1000 * (sum(process.cpu_times()[:2]) - before) / max(1, found["messages"])
        most = {"rate": round(await closed_loop(people, options.seconds / 2), 1), **taken(people)}
        empty = round(await empty_loop(people, 1.0), 1)
        rounds.append({"open": found, "closed": most, "empty_per_second": empty, "server_cpu_ms_per_message": round(used, 2), "load": load})
        print(rounds[-1], flush=True)
    disk = round(waiting_for_the_disk(folder), 3)
    return {
        "app": options.app, "texts": len(set(texts)), "new": options.new,
        "conversations": CONVERSATIONS, "rate": options.rate, "seconds": options.seconds, "rounds": rounds,
        "median": {name: statistics.median(one["open"][name] for one in rounds) for name in ("rate", "p50", "p90", "p99")},
        "most_per_second": statistics.median(one["closed"]["rate"] for one in rounds), "disk_ms": disk,
        "memory_mb": round(process.memory_info().rss / 1e6, 1), **measured_here(), "code": code(),
    }  # fmt: skip


def read_texts(file: Path | None) -> list[str]:
    """Return the messages of a file with labelled conversations, one JSON object a line; without it some for the ledger."""
    if file is None:
        return [f"message {number}" for number in range(100)]
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [turn["say"] for one in lines for turn in one["turns"] if turn.get("say")]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--app", default="ledger")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--new", action="store_true")
    options = parser.parse_args()
    unlimited = {"rate": "100000/second", "beginnings": "100000/second"}
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as temporary:  # on a disk, as a server's database is
        home = options.home or Path(temporary)
        servers = Servers(home, None, unlimited)
        try:
            found = asyncio.run(measure(options, servers, Path(temporary), read_texts(options.texts)))
        finally:
            servers.close()
    results = json.loads(OUT.read_text()) if OUT.exists() else {"cases": {}}
    results["cases"][f"{options.app}-new" if options.new else options.app] = found
    write_json(OUT, results)
    print(json.dumps({"median": found["median"], "most_per_second": found["most_per_second"], "disk_ms": found["disk_ms"]}))


if __name__ == "__main__":
    main()
