"""Kills a process that stores feedback and requests, again and again, and checks that nothing is lost and nothing is counted twice.

    python benchmarks/killing.py [--rounds 500] [--seed 0]

In each round a process stores feedback, one after the other, and finished requests in groups, as a server does, and says what it has
acknowledged. It is killed (SIGKILL) after a random time below 1.5 s. Then the database is opened by another process: all acknowledged
feedback must be there, once; each stored request must be in the usage, once; requests that ended a second before the kill must be stored;
the database must be sound. Both SQLite and PostgreSQL are killed in this way. Results go to benchmarks/results/killing.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from processor import code, measured_here
from sqlalchemy import func, select

from vertune.core.files import write_json
from vertune.core.ids import time_ordered_id
from vertune.store import schema
from vertune.store.database import FILE, Database
from vertune.store.feedback import add
from vertune.store.traffic import Entry, Used
from vertune.store.writer import Described, Writer
from vertune.testing import postgres

OUT = Path(__file__).parent / "results" / "killing.json"
LONGEST = 1.5
"""Seconds after which a process is killed at the latest."""
LATEST = 1.0
"""Seconds before the kill in which finished requests may be lost."""


def work(location: str) -> None:
    """Store feedback and requests until the process is killed; say what is acknowledged."""
    database = opened(location)
    database.hold()
    writer: Writer[Entry] = Writer(database, Described(lambda entry: entry, lambda entry: entry.usage, lambda entry: 1000))
    writer.start()
    print("ready", flush=True)
    while True:
        for _ in range(20):
            id = time_ordered_id()
            request = {
                "id": id, "at": "", "customer": "c", "key": "k", "resource": "predict", "status": 200, "seconds": 0.0, "records": 1,
                "tokens": 1, "cached_tokens": 0,
            }  # fmt: skip
            answer = {"request": id, "number": 0, "vertical": "v", "model": "m", "record": "{}", "answer": "{}"}
            writer.add(Entry(request, [answer], {Used("2030-01-01", "c", "k", "v"): (1, 1, 1, 0)}))
            print("request", id, time.time(), flush=True)
        id = time_ordered_id()
        row = {"id": id, "at": "", "customer": "c", "vertical": "v", "trust": 1.0, "digest": b"", "idempotency": id}
        add(database, row)
        print("feedback", id, flush=True)


def opened(location: str) -> Database:
    """The database at a URL or in a file."""
    return Database(location if "://" in location else Path(location))


def kill_once(location: str, seconds: float) -> dict[str, list[tuple[str, float]]]:
    """Run the process for so long, and return what it acknowledged, with the age at the kill."""
    child = subprocess.Popen([sys.executable, __file__, "--work", location], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(seconds)
    child.kill()
    killed = time.time()
    said: dict[str, list[tuple[str, float]]] = {"feedback": [], "request": []}
    for line in child.stdout.read().splitlines():
        words = line.split()
        if len(words) == 3 or (len(words) == 2 and words[0] == "feedback" and len(words[1]) == 32):  # the last line may be cut
            with contextlib.suppress(ValueError):
                said[words[0]].append((words[1], killed - float(words[2]) if len(words) == 3 else 0.0))
    child.wait()
    return said


def check(location: str, feedback: list[str], requests: list[str]) -> dict[str, int]:
    """What is wrong with the database: lost and repeated rows, miscounted usage, damage."""
    database = opened(location)
    with database.reading() as connection:
        stored = list(connection.scalars(select(schema.feedback.c.id)))
        kept = set(connection.scalars(select(schema.requests.c.id)))
        answers = connection.scalar(select(func.count()).select_from(schema.answers)) or 0
        counted = int(connection.scalar(select(func.sum(schema.usage.c.requests))) or 0)
        sound = database.file is None or connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()
    return {
        "feedback_lost": len(set(feedback) - set(stored)), "feedback_twice": len(stored) - len(set(stored)),
        "requests_lost": len(set(requests) - kept), "miscounted": abs(counted - len(kept)) + abs(answers - len(kept)),
        "damaged": int(not sound),
    }  # fmt: skip


def measure(location: str, rounds: int, draw: random.Random) -> dict[str, Any]:
    """Kill the process so often, and check the database after each."""
    wrong: dict[str, int] = {}
    feedback: list[str] = []
    requests: list[str] = []
    for number in range(rounds):
        said = kill_once(location, draw.random() * LONGEST)
        feedback += [id for id, _ in said["feedback"]]
        requests += [id for id, age in said["request"] if age > LATEST]
        found = check(location, feedback, requests)
        for name, count in found.items():
            wrong[name] = max(wrong.get(name, 0), count)
        if number % 25 == 24:
            print(f"{number + 1} of {rounds}: {len(feedback):,} feedbacks, {wrong}", flush=True)
    return {"rounds": rounds, "feedback": len(feedback), "requests": len(requests), **wrong}


def main() -> None:
    """Parse the command line, measure, or work until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    with tempfile.TemporaryDirectory() as folder, postgres.cluster(durable=True) as url:
        with psycopg.connect(url.format("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE killing")
        found = {
            name: measure(location, options.rounds, random.Random(options.seed))
            for name, location in (("sqlite", os.path.join(folder, FILE)), ("postgresql", url.format("killing")))  # noqa: PTH118
        }
    print(json.dumps(found, indent=1))
    write_json(OUT, {"databases": found} | measured_here() | code())


if __name__ == "__main__":
    main()
