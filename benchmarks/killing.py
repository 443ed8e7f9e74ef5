"""Kills a process that stores feedback and requests and runs jobs, again and again, and checks that nothing is lost or counted twice.

    python benchmarks/killing.py [--rounds 500] [--seed 0]

In each round a process stores feedback, one after the other, and finished requests in groups, as a server does, starts jobs and runs
them, and says what it has acknowledged. A job is a process that waits up to 0.4 s; its lease is 0.5 s instead of 30 s. The process is
killed (SIGKILL) after a random time below 1.5 s. Then the database is opened by another process: all acknowledged feedback and all jobs
must be there, once; each stored request must be in the usage, once; requests that ended a second before the kill must be stored; no
process of a job may be left; the database must be sound. After the last round, all jobs must end with a result. Both SQLite and
PostgreSQL are killed in this way. Results go to benchmarks/results/killing.json.
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
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from processor import code, measured_here
from sqlalchemy import func, select

from vertune.core.files import write_json
from vertune.core.ids import time_ordered_id
from vertune.server import jobs as running
from vertune.server.settings import JobSettings
from vertune.store import jobs, schema
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


JOB = "import random, sys, time; sys.stdin.readline(); time.sleep(random.random() * 0.4); print('{\"result\": {}}', flush=True)"
WATCHED = "import os, sys, threading; threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start();"
"""As in the process of a real job: it ends when its server dies."""


def runner(database: Database) -> running.Jobs:
    """What runs jobs, with short leases, and with processes that only wait."""
    jobs.LEASE, jobs.ATTEMPTS = timedelta(seconds=0.5), 30_000
    running._LOOKING, running._TELLING = 0.05, 0.1
    running.ARGUMENTS = ["-S", "-c", JOB.replace("sys.stdin.readline();", f"sys.stdin.readline(); {WATCHED}")]
    return running.Jobs(database, Path(tempfile.gettempdir()), JobSettings(cores=2, at_once=2))


def work(location: str) -> None:
    """Store feedback and requests, and run jobs, until the process is killed; say what is acknowledged."""
    database = opened(location)
    database.hold()
    runner(database).polling.start()
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
        about = {"kind": "predict", "vertical": "v", "request": {}, "priority": 4}
        jobs.add(database, {"id": id, "at": "", "customer": "c", "digest": b"", **about})
        print("job", id, flush=True)
        time.sleep(0.1)


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
    said: dict[str, list[tuple[str, float]]] = {"feedback": [], "request": [], "job": []}
    for line in child.stdout.read().splitlines():
        words = line.split()
        if len(words) == 3 or (len(words) == 2 and words[0] in ("feedback", "job") and len(words[1]) == 32):  # the last line may be cut
            with contextlib.suppress(ValueError):
                said[words[0]].append((words[1], killed - float(words[2]) if len(words) == 3 else 0.0))
    child.wait()
    return said


def check(location: str, feedback: list[str], requests: list[str], started: list[str]) -> dict[str, int]:
    """What is wrong with the database: lost and repeated rows, miscounted usage, damage."""
    database = opened(location)
    with database.reading() as connection:
        stored = list(connection.scalars(select(schema.feedback.c.id)))
        queue = list(connection.scalars(select(schema.jobs.c.id)))
        kept = set(connection.scalars(select(schema.requests.c.id)))
        answers = connection.scalar(select(func.count()).select_from(schema.answers)) or 0
        counted = int(connection.scalar(select(func.sum(schema.usage.c.requests))) or 0)
        sound = database.file is None or connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()
    return {
        "feedback_lost": len(set(feedback) - set(stored)), "feedback_twice": len(stored) - len(set(stored)),
        "requests_lost": len(set(requests) - kept), "miscounted": abs(counted - len(kept)) + abs(answers - len(kept)),
        "jobs_lost": len(set(started) - set(queue)), "jobs_twice": len(queue) - len(set(queue)), "damaged": int(not sound),
    }  # fmt: skip


def left_processes() -> int:
    """The number of processes of jobs whose server is dead; they get a second to notice."""
    time.sleep(0.2)
    for _ in range(10):
        count = 0
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                count += entry.name.isdigit() and WATCHED in (entry / "cmdline").read_text()
        if not count:
            return 0
        time.sleep(0.1)
    return count


def finish(location: str) -> dict[str, int]:
    """Run the jobs that are left, and return how many ended without a result."""
    database = opened(location)
    last = runner(database)
    last.polling.start()
    waiting = select(func.count()).select_from(schema.jobs).where(schema.jobs.c.state.in_(["queued", "running"]))
    while True:
        with database.reading() as connection:
            if not connection.scalar(waiting):
                break
        time.sleep(0.2)
    last.stop()
    with database.reading() as connection:
        without = connection.scalar(select(func.count()).select_from(schema.jobs).where(schema.jobs.c.state != "done")) or 0
    database.close()
    return {"jobs_without_result": without}


def measure(location: str, rounds: int, draw: random.Random) -> dict[str, Any]:
    """Kill the process so often, and check the database after each."""
    wrong: dict[str, int] = {}
    feedback: list[str] = []
    requests: list[str] = []
    started: list[str] = []
    for number in range(rounds):
        said = kill_once(location, draw.random() * LONGEST)
        feedback += [id for id, _ in said["feedback"]]
        requests += [id for id, age in said["request"] if age > LATEST]
        started += [id for id, _ in said["job"]]
        found = check(location, feedback, requests, started) | {"processes_left": left_processes()}
        for name, count in found.items():
            wrong[name] = max(wrong.get(name, 0), count)
        if number % 25 == 24:
            print(f"{number + 1} of {rounds}: {len(feedback):,} feedbacks, {len(started):,} jobs, {wrong}", flush=True)
    return {"rounds": rounds, "feedback": len(feedback), "requests": len(requests), "jobs": len(started), **wrong, **finish(location)}


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
