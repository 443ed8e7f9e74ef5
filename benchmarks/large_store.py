"""Measures what the server's database does with ten million requests and a million feedbacks, as SQLite and as PostgreSQL.

    python benchmarks/large_store.py [--rows 10000000] [--databases sqlite postgresql] [--parts queries deletion migration]

The rows (`stored_rows.py`) are written once into benchmarks/.work/large_store and used again by the next run. All that is measured happens
in a copy.

- `queries` (`stored_queries.py`): every function with which the routes of the server, its listeners and the commands ask the database, 20
  times with drawn arguments, transaction included. Each must take less than 50 ms. The CPU time of this process and of PostgreSQL's stands
  beside the time, because other load on the machine adds to that.
- `deletion`: a process stores 100 requests a second in groups and 20 feedbacks a second, as a server does, first alone, then while the
  requests of the oldest day are deleted (retention), those of a customer, and those of a key. No acknowledged feedback may wait for
  longer than a second.
- `migration`: the store is taken back to each earlier revision that has requests, migrated, taken back again, killed (SIGKILL) in the
  middle of the migration, and migrated again. Each must take less than a minute and lose no row.

Results go to benchmarks/results/large_store.json, in which what is not measured this time stays; the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory
from processor import code, measured_here
from sqlalchemy import MetaData, func, inspect, select, text
from stored_queries import Arguments, feedback_row, queries
from stored_rows import CUSTOMERS, VERTICALS, fill, verticals_of

from vertune.core.files import read_json, write_json
from vertune.core.ids import first_id_at, time_ordered_id
from vertune.store import feedback, keys, schema, traffic
from vertune.store.database import FILE, Database, format_time
from vertune.store.deletion import Deletion, carry_out
from vertune.store.retention import Retention, size
from vertune.store.usage import Period, used
from vertune.store.writer import Described, Writer
from vertune.testing import postgres

HERE = Path(__file__).parent
CACHE = HERE / ".work" / "large_store"
OUT = HERE / "results" / "large_store.json"
RUNS = 20
SLOWEST_QUERY = 0.05
"""Seconds that a query may take."""
LONGEST_WAIT = 1.0
"""Seconds for which acknowledged feedback may wait."""
LONGEST_MIGRATION = 60.0
_DAY = 24 * 60 * 60
_QUIET = 20.0
"""Seconds for which the process stores without a deletion."""
_FOREVER = 1e6


# ── The databases ────────────────────────────────────────────────────────────────────────────────────────────────────


class Sqlite:
    """Files in the cache."""

    name = "sqlite"

    def location(self, of: str) -> Path:
        return CACHE / of / FILE

    def remove(self, of: str) -> None:
        shutil.rmtree(CACHE / of, ignore_errors=True)

    def create(self, name: str) -> None:
        self.remove(name)
        (CACHE / name).mkdir(parents=True)

    def copy(self, source: str, target: str) -> None:
        self.create(target)
        shutil.copy(self.location(source), self.location(target))
        with self.location(target).open("rb") as file:
            os.fsync(file.fileno())  # else the first transaction waits for it


@dataclass
class Postgresql:
    """Databases of one server."""

    url: str
    name = "postgresql"

    def location(self, of: str) -> str:
        return self.url.format(of)

    def _run(self, *commands: str) -> None:
        with psycopg.connect(self.url.format("postgres"), autocommit=True) as connection:
            for command in commands:
                connection.execute(command)

    def remove(self, of: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {of} WITH (FORCE)")

    def copy(self, source: str, target: str) -> None:
        self.remove(target)
        self._run(f"CREATE DATABASE {target} TEMPLATE {source} STRATEGY FILE_COPY", "CHECKPOINT")

    def create(self, name: str) -> None:
        self.remove(name)
        self._run(f"CREATE DATABASE {name}")


Server = Sqlite | Postgresql


@contextmanager
def server(name: str) -> Iterator[Server]:
    """The databases of a kind, for as long as the `with` block runs."""
    if name == "sqlite":
        yield Sqlite()
        return
    with postgres.cluster(durable=True, folder=CACHE / "postgresql") as url:
        yield Postgresql(url)


def filled(server: Server, count: int) -> dict[str, Any]:
    """Fill the database of the cache, unless it is complete, and return what was written about it."""
    store = store_of(count)
    about = CACHE / f"{server.name}_{count}.json"
    if about.exists():
        opened(str(server.location(store))).close()  # which migrates what an earlier version filled
        known: dict[str, Any] = read_json(about)
        return known
    CACHE.mkdir(parents=True, exist_ok=True)
    server.create(store)
    with closing(Database(server.location(store))) as database:
        fill(database, count)
        found: dict[str, Any] = rows_of(database)
        with database.reading() as connection:
            found["megabytes"] = round(size(connection) / 1e6)
    write_json(about, found)
    return found


def store_of(count: int) -> str:
    """The name of the database in the cache that has so many requests."""
    return f"store_{count}"


def rows_of(database: Database) -> dict[str, int]:
    """The number of rows of the large tables."""
    with database.reading() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        tables = (schema.requests, schema.answers, schema.feedback, schema.usage)
        return {f"rows_{table.name}": int(connection.scalar(select(func.count()).select_from(table)) or 0) for table in tables}


# ── Queries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure_queries(location: Path | str) -> dict[str, Any]:
    """Median and largest time of every query, in milliseconds, and how often it found nothing; the first run of each has no time."""
    with closing(Database(location)) as database:
        database.hold()
        processor_time, result = cpu_clock(database), {}
        asked = queries(database)
        gc.collect()  # as a server does once it is ready
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        for name, draw in asked.items():
            times, cpu, empty = [], [], 0
            for _ in range(RUNS + 1):
                run = draw()
                used_before, started = processor_time(), time.perf_counter()
                rows = run()
                times.append(1000 * (time.perf_counter() - started))
                cpu.append(1000 * (processor_time() - used_before))
                empty += rows in ([], {})
            figures = {"median_ms": statistics.median(times[1:]), "largest_ms": max(times[1:]), "largest_cpu_ms": max(cpu[1:])}
            result[name] = {title: round(value, 2) for title, value in figures.items()} | ({"found_nothing": empty} if empty else {})
            print(f"{name:55} {result[name]}", flush=True)
        return result


def cpu_clock(database: Database) -> Callable[[], float]:
    """Reads the CPU seconds of this process, and of the process of PostgreSQL that answers it: they show what other load adds."""
    backend = None
    if database.file is None:
        with database.reading() as connection:
            backend = Path(f"/proc/{connection.exec_driver_sql('SELECT pg_backend_pid()').scalar()}/schedstat")
    return lambda: time.process_time() + (0.0 if backend is None else int(backend.read_text().split()[0]) / 1e9)


# ── Deletion ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def serve(location: str, days: float) -> None:
    """Store requests and feedback as a server does, until the input ends; print the longest waits."""
    with closing(opened(location)) as database:
        database.hold()
        added: deque[float] = deque()
        waits: dict[str, list[float]] = {"feedback": [], "requests": []}

        def written(usage: Sequence[Mapping[traffic.Used, traffic.Amounts]]) -> None:
            now = time.monotonic()
            waits["requests"] += [now - added.popleft() for _ in usage[:-1]]  # the last is that of requests without rows

        described: Described[traffic.Entry] = Described(lambda entry: entry, lambda entry: entry.usage, lambda entry: 1000)
        writer = Writer(database, described, Retention(database, days, _FOREVER).step, written)
        writer.start()
        ended = threading.Event()
        threading.Thread(target=await_end, args=(ended,), daemon=True).start()
        customer, today = CUSTOMERS[1], datetime.now(UTC).date().isoformat()
        said = threading.Thread(target=say, args=(database, ended, waits["feedback"]))
        said.start()
        print("ready", flush=True)
        while not ended.wait(0.01):
            id, vertical = time_ordered_id(), random.choice(verticals_of(customer))
            request = {
                "id": id, "at": format_time(datetime.now(UTC)), "customer": customer, "key": "k", "resource": "predict", "status": 200,
                "seconds": 0.01, "records": 1, "tokens": 20, "cached_tokens": 0,
            }  # fmt: skip
            answer = {
                "request": id, "number": 0, "vertical": vertical, "model": "m", "record": '{"text": "where is my card?"}',
                "fingerprint": random.randbytes(8), "answer": '{"label": "label_7"}',
            }  # fmt: skip
            added.append(time.monotonic())
            writer.add(traffic.Entry(request, [answer], {traffic.Used(today, customer, "k", vertical): (1, 1, 20, 0)}))
        said.join()
        writer.stop()
        print(json.dumps({"dropped": writer.dropped, **{name: summary(found) for name, found in waits.items()}}), flush=True)


def await_end(ended: threading.Event) -> None:
    """Wait until the input ends."""
    sys.stdin.read()
    ended.set()


def say(database: Database, ended: threading.Event, waits: list[float]) -> None:
    """Store feedback, one after the other, as a client that waits for each."""
    while not ended.wait(0.05):
        row = feedback_row(None, random.choice(VERTICALS))
        started = time.monotonic()
        try:
            feedback.add(database, row)
        finally:
            waits.append(time.monotonic() - started)


def summary(waits: list[float]) -> dict[str, float]:
    """Number, median and longest of times, in seconds."""
    return {"count": len(waits), "median_s": round(statistics.median(waits), 4), "longest_s": round(max(waits), 3)}


def opened(location: str) -> Database:
    """The database at a URL or in a file."""
    return Database(location if "://" in location else Path(location))


def while_serving(location: Path | str, days: float, work: Callable[[], object]) -> dict[str, Any]:
    """Do some work while another process stores requests and feedback; return how long both took."""
    command = [sys.executable, __file__, "--serve", str(location), "--days", str(days)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        started = time.monotonic()
        done = work()
        seconds = time.monotonic() - started
        child.stdin.close()
        waits = json.loads(child.stdout.read())
    return {"seconds": round(seconds, 1), "deleted": done, **waits}


def measure_deletion(location: Path | str) -> dict[str, Any]:
    """The waits of feedback and of requests without a deletion and with each kind."""
    with closing(Database(location)) as database:
        given = Arguments(database)
        limit = given.first + _DAY

        def old() -> int:
            before = schema.requests.c.id < first_id_at(limit)
            with database.reading() as connection:
                return int(connection.scalar(select(func.count()).where(before)) or 0)

        def retention() -> object:
            count = old()
            while left := old():
                print(f"retention: {left:,} requests are left", flush=True)
                time.sleep(5)
            return {"requests": count}

        def deletion(**wanted: str) -> Callable[[], object]:
            return lambda: carry_out(database, Deletion(**wanted), "benchmark")  # type: ignore[arg-type]

        with database.reading() as connection:
            month = used(connection, Period(), ["customer"])
        customer = sorted(month, key=lambda row: row.requests)[len(month) // 2].customer
        key = next(one.id for one in keys.Keys(database).all() if one.customer == CUSTOMERS[-1])
        work: dict[str, tuple[float, Callable[[], object]]] = {
            "nothing": (_FOREVER, lambda: time.sleep(_QUIET)),
            "retention of a day": ((time.time() - limit) / _DAY, retention),
            "deletion of a customer": (_FOREVER, deletion(customer=customer)),
            "deletion of a key": (_FOREVER, deletion(key=key)),
            "deletion of a vertical": (_FOREVER, deletion(vertical=VERTICALS[-1])),
        }
        result = {}
        for name, (days, doing) in work.items():
            result[name] = while_serving(location, days, doing)
            print(f"{name:25} {result[name]}", flush=True)
        return result


# ── Migration ────────────────────────────────────────────────────────────────────────────────────────────────────────


def earlier_revisions() -> list[str]:
    """The revisions before the last one, the newest first."""
    config = Config()
    config.set_main_option("script_location", "vertune.store:migrations")
    config.set_main_option("path_separator", "os")
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][1:]


def empty_tables(server: Server, revision: str) -> MetaData:
    """The tables of an empty database of an earlier revision."""
    server.create("empty")
    last, schema.REVISION = schema.REVISION, revision
    try:
        with closing(Database(server.location("empty"))) as database, database.reading() as connection:
            tables = MetaData()
            tables.reflect(connection)
            return tables
    finally:
        schema.REVISION = last
        server.remove("empty")


def take_back(location: Path | str, tables: MetaData, revision: str) -> None:
    """Drop the tables, columns and indexes that an earlier revision does not have."""
    with closing(Database(location)) as database, database.writing() as connection:
        found = inspect(connection)
        for name in set(found.get_table_names()) - set(tables.tables):
            connection.execute(text(f"DROP TABLE {name}"))
        for name, table in tables.tables.items():
            for index in {str(one["name"]) for one in found.get_indexes(name)} - {str(one.name) for one in table.indexes}:
                connection.execute(text(f"DROP INDEX {index}"))
            for column in {one["name"] for one in found.get_columns(name)} - set(table.columns.keys()):
                connection.execute(text(f'ALTER TABLE {name} DROP COLUMN "{column}"'))
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def migrate(location: Path | str, kill_after: float | None = None) -> float:
    """Open the database in another process, which migrates it, and return the seconds; kill it after some."""
    with subprocess.Popen([sys.executable, __file__, "--open", str(location)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        started = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            child.kill()
        status = child.wait()
    if kill_after is None and status != 0:
        raise SystemExit("The migration failed.")
    if kill_after is not None and status != -9:
        raise SystemExit("The migration had ended before it was killed.")
    return time.monotonic() - started


def measure_migration(server: Server, location: Path | str) -> dict[str, Any]:
    """Seconds of the migration from each earlier revision that has requests; of one that was killed, of the one after it."""
    result = {}
    with closing(Database(location)) as database:
        before = rows_of(database)
    for revision in earlier_revisions():
        tables = empty_tables(server, revision)
        if schema.requests.name not in tables.tables:
            continue
        take_back(location, tables, revision)
        seconds = migrate(location)
        take_back(location, tables, revision)
        migrate(location, kill_after=seconds / 2)
        again = migrate(location)
        with closing(Database(location)) as database, database.reading() as connection:
            after = rows_of(database)
            lost = sum(abs(count - after[name]) for name, count in before.items())
            missing = {index.name for table in schema.metadata.tables.values() for index in table.indexes} - {
                str(one["name"]) for name in schema.metadata.tables for one in inspect(connection).get_indexes(name)
            }
        result[f"from {revision}"] = {
            "seconds": round(seconds, 2), "after_kill_s": round(again, 2), "rows_lost": lost, "indexes_missing": len(missing),
        }  # fmt: skip
        print(f"from {revision}: {result[f'from {revision}']}", flush=True)
    return result


# ── The bars ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def missed(name: str, found: dict[str, Any]) -> list[str]:
    """What is beyond its bar in a database."""
    queries, deletion, migration = (found.get(part, {}) for part in ("queries", "deletion", "migration"))
    return [
        *(f"{name}: {query} took {one['largest_ms']} ms" for query, one in queries.items() if one["largest_ms"] > 1000 * SLOWEST_QUERY),
        *(
            f"{name}: feedback waited {one['feedback']['longest_s']} s during {work}"
            for work, one in deletion.items()
            if one["feedback"]["longest_s"] > LONGEST_WAIT or one["dropped"]
        ),
        *(
            f"{name}: the migration {revision} took {one['seconds']} s, after a kill {one['after_kill_s']} s; {one['rows_lost']} rows lost"
            for revision, one in migration.items()
            if max(one["seconds"], one["after_kill_s"]) > LONGEST_MIGRATION or one["rows_lost"] or one["indexes_missing"]
        ),
    ]  # fmt: skip


def measure(server: Server, count: int, parts: Sequence[str]) -> dict[str, Any]:
    """All figures of one kind of database."""
    result: dict[str, Any] = {"store": filled(server, count)}
    print(f"{server.name}: {result['store']}", flush=True)
    server.copy(store_of(count), "work")
    location = server.location("work")
    try:
        for part in parts:
            result[part] = {
                "queries": lambda: measure_queries(location), "deletion": lambda: measure_deletion(location),
                "migration": lambda: measure_migration(server, location),
            }[part]()  # fmt: skip
            result[f"load_during_{part}"] = round(os.getloadavg()[0], 1)
    finally:
        server.remove("work")
    return result


def main() -> None:
    """Parse the command line, measure, or be a process that stores or migrates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--parts", nargs="+", choices=["queries", "deletion", "migration"], default=["queries", "deletion", "migration"])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--days", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.days)
        return
    if options.open:
        print("ready", flush=True)
        opened(options.open).close()
        return
    found: dict[str, Any] = read_json(options.out)["databases"] if options.out.exists() else {}
    for name in options.databases:
        with server(name) as chosen:
            found[name] = found.get(name, {}) | measure(chosen, options.rows, options.parts)
    beyond = [line for name, one in found.items() for line in missed(name, one)]
    write_json(options.out, {"databases": found, "missed": beyond} | measured_here() | code())
    print("\n".join(beyond))
    sys.exit(bool(beyond))


if __name__ == "__main__":
    main()
