"""Fills the database of a server with as many rows as a busy one has after sixty days; knows nothing of what is measured with them.

Requests come day and night, more by day. They belong to 20 customers and to the operator's own, with 100 keys; a few keys send most. Each
customer uses 10 of 50 verticals, and each vertical gets a new model every 20 days. A tenth of the requests is followed by feedback. Rows
are written in bulk, the secondary indexes after them, because writing them one after the other would take hours.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Table

from vertune.store import schema
from vertune.store.database import Database, format_time
from vertune.store.key import DEFAULT_CUSTOMER
from vertune.store.keys import Keys
from vertune.store.traffic import fingerprint, fingerprint_key

DAYS = 60
CUSTOMERS = [DEFAULT_CUSTOMER, *(f"customer-{number:02}" for number in range(20))]
VERTICALS = [f"vertical-{number:02}" for number in range(50)]
KEYS = 100
VERTICALS_OF_A_CUSTOMER = 10
FEW = 10_000
"""Number of jobs, of uploads and of entries of the audit and of the histories."""
_DAY = 24 * 60 * 60
_CHUNK = 50_000
_FREQUENT = 50_000
"""Number of texts that are sent again and again: a fifth of the requests has one of them."""
_WORDS = [
    "the", "card", "is", "still", "not", "here", "since", "two", "weeks", "please", "tell", "when", "account", "transfer", "of", "money",
    "was", "refused", "my", "phone", "number", "[PHONE]", "and", "[EMAIL]", "why", "fee", "charged", "for", "exchange", "rate", "limit",
    "new", "address", "order", "parcel", "late", "return", "label", "invoice", "[IBAN]", "password", "reset", "does", "work", "in", "app",
    "after", "update", "machine", "kept", "it", "abroad", "holiday", "refund", "pending", "cash",
]  # fmt: skip


def verticals_of(customer: str) -> list[str]:
    """The verticals that a customer uses; the first are those that it uses most."""
    first = 7 * CUSTOMERS.index(customer)
    return [VERTICALS[(first + number) % len(VERTICALS)] for number in range(VERTICALS_OF_A_CUSTOMER)]


@dataclass(slots=True)
class Drawn:
    """A piece of the rows, each table as a list of tuples."""

    requests: list[tuple[Any, ...]] = field(default_factory=list)
    answers: list[tuple[Any, ...]] = field(default_factory=list)
    feedback: list[tuple[Any, ...]] = field(default_factory=list)


COLUMNS = {
    "requests": ["id", "at", "customer", "key", "resource", "status", "seconds", "records", "tokens", "cached_tokens", "idempotency"],
    "answers": ["request", "number", "vertical", "model", "record", "fingerprint", "answer", "confidence"],
    "feedback": [
        "id", "at", "customer", "key", "vertical", "model", "request", "number", "record", "fingerprint", "verdict", "target", "comment",
        "score", "author", "trust", "idempotency", "digest",
    ],
    "usage": ["day", "customer", "key", "vertical", "requests", "records", "tokens", "cached_tokens", "jobs"],
}  # fmt: skip


class Rows:
    """Draws the rows of one database, in the order of their times."""

    def __init__(self, count: int, end: float, keys: dict[str, list[str]], secret: bytes) -> None:
        """`end` is the time of the last request; `keys` has the ids of the keys by customer; `secret` makes fingerprints."""
        self._count, self._begin, self._secret = count, end - DAYS * _DAY, secret
        self._draw = random.Random(0)
        pairs = [(customer, key) for place in range(KEYS) for customer, ids in keys.items() for key in ids[place : place + 1]]
        self._keys = self._skewed(pairs)
        self._verticals = {customer: self._skewed(verticals_of(customer)) for customer in CUSTOMERS}
        self._texts = [self._text(number) for number in range(_FREQUENT)]
        self._answers = [json.dumps({"label": f"label_{number % 40}", "confidence": 0.4 + number % 60 / 100}) for number in range(600)]
        self.usage: dict[tuple[str, str, str, str], list[int]] = {}

    def _skewed(self, values: list[Any]) -> list[Any]:
        """4,096 draws of the values, the first ones more often."""
        weights = [1 / (2 + place) ** 0.7 for place in range(len(values))]
        return self._draw.choices(values, weights, k=4096)

    def _text(self, number: int) -> str:
        length, words = self._draw.randrange(40, 190), [f"{number:x}"]
        while len(text := " ".join(words)) < length:
            words.append(self._draw.choice(_WORDS))
        return text[:200]

    def _time(self, number: int) -> float:
        days = DAYS * (number + 1) / self._count
        return self._begin + _DAY * (days - 0.8 * math.sin(2 * math.pi * days) / (2 * math.pi))

    def chunks(self) -> Iterator[Drawn]:
        """Yield all rows of requests, answers and feedback; `usage` grows meanwhile."""
        for first in range(0, self._count, _CHUNK):
            drawn = Drawn()
            for number in range(first, min(first + _CHUNK, self._count)):
                self._add(drawn, number)
            yield drawn

    def _add(self, drawn: Drawn, number: int) -> None:
        bits = self._draw.getrandbits(64)
        seconds = self._time(number)
        id, at = id_at(seconds, number), format_time(datetime.fromtimestamp(seconds, UTC))
        customer, key = self._keys[bits & 4095]
        vertical = self._verticals[customer][bits >> 12 & 4095]
        model = f"{vertical}-{int(seconds - self._begin) // (20 * _DAY)}"
        records = 4 if bits >> 24 & 63 == 0 else 1
        tokens, cached = 20 * records, 20 * records * (bits >> 30 & 7 == 0)
        again = f"{bits:016x}" if number % 10 == 3 else None
        drawn.requests.append((id, at, customer, key, "predict", 200, (bits >> 33 & 4095) / 1e5, records, tokens, cached, again))
        for place in range(records):
            text = self._texts[(bits >> 8) % _FREQUENT]
            if number % 5 or place:
                text = f"{text[:-9]} {number:x}{place}"
            mark, answer = fingerprint({"text": text}, self._secret), self._answers[(bits >> 20 + place) % 600]
            record = None if vertical.endswith("9") else orjson.dumps({"text": text}).decode()  # some operators keep no texts
            drawn.answers.append((id, place, vertical, model, record, mark, answer, 0.4 + (bits >> 40) % 60 / 100))
            if not place and number % 10 == 0:
                drawn.feedback.append(self._feedback(number // 10, drawn.requests[-1], drawn.answers[-1], seconds + 30))
        sums = self.usage.setdefault((at[:10], customer, key, vertical), [0, 0, 0, 0])
        for place, amount in enumerate((1, records, tokens, cached)):
            sums[place] += amount

    def _feedback(self, number: int, request: tuple[Any, ...], answer: tuple[Any, ...], seconds: float) -> tuple[Any, ...]:
        bits = self._draw.getrandbits(32)
        about_answer = bits % 20 > 0
        verdict = (None, "right", "wrong", "wrong")[bits >> 5 & 3] if about_answer else None
        target = '{"label": "label_7"}' if verdict != "right" else None
        author = f"agent-{bits >> 7 & 255}@{request[2]}"
        comment = self._texts[bits % _FREQUENT][:80] if bits >> 15 & 3 == 0 else None
        place = (request[0], 0) if about_answer else (None, None)
        return (
            id_at(seconds, number), format_time(datetime.fromtimestamp(seconds, UTC)), *request[2:4], *answer[2:4], *place, *answer[4:6],
            verdict, target, comment, (bits >> 17) % 5 + 1 if bits >> 20 & 1 else None, author, 0.5 if bits >> 21 & 7 == 0 else 1.0,
            f"f{number}" if bits >> 24 & 1 else None, bits.to_bytes(16, "big"),
        )  # fmt: skip


def id_at(seconds: float, number: int) -> str:
    """An id as the server makes them, with its time and a number instead of a random one."""
    return f"{int(seconds * 1000):012x}7{number & 0xFFF:03x}{1 << 63 | number:016x}"


def fill(database: Database, count: int) -> None:
    """Write the rows of so many requests, and of what belongs to them; say how far it is."""
    keys: dict[str, list[str]] = {customer: [] for customer in CUSTOMERS}
    store = Keys(database)
    for _, customer in zip(range(KEYS), itertools.cycle(CUSTOMERS)):
        keys[customer].append(store.create("a key", ["predict", "feedback"], customer=customer)[1].id)
    end = time.time() - 60
    rows = Rows(count, end, keys, fingerprint_key(database))
    grown = [schema.requests, schema.answers, schema.feedback]
    indexes = [index for table in grown for index in table.indexes]
    with _unlimited(database) as connection:
        for index in indexes:
            index.drop(connection)
    done, began = 0, time.monotonic()
    for drawn in rows.chunks():
        with _unlimited(database) as connection:
            for table in grown:
                _write(connection, table, COLUMNS[table.name], getattr(drawn, table.name))
        done += len(drawn.requests)
        if done % (10 * _CHUNK) == 0 or done == count:
            print(f"{done:,} of {count:,} requests, {time.monotonic() - began:.0f} s", flush=True)
    with _unlimited(database) as connection:
        _write(connection, schema.usage, COLUMNS["usage"], [(*used, *sums, 0) for used, sums in rows.usage.items()])
        _write_few(connection, keys, end)
    for index in indexes:
        with _unlimited(database) as connection:
            index.create(connection)
        print(f"index {index.name}, {time.monotonic() - began:.0f} s", flush=True)
    _settle(database)


def _write_few(connection: Connection, keys: dict[str, list[str]], end: float) -> None:
    """Write jobs with their events, uploads, entries of the audit and of the histories."""
    draw = random.Random(1)
    tables: dict[Table, list[dict[str, Any]]] = {
        schema.jobs: [], schema.job_events: [], schema.uploads: [], schema.audit: [], schema.versions: [],
    }  # fmt: skip
    for number in range(FEW):
        seconds = end - DAYS * _DAY * (1 - number / FEW)
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        vertical = draw.choice(verticals_of(customer))
        common = {"id": id_at(seconds, number), "at": format_time(datetime.fromtimestamp(seconds, UTC))}
        owned = {**common, "customer": customer, "key": keys[customer][0]}
        job = {"kind": "fit", "vertical": vertical, "request": "{}", "priority": 4, "attempts": 1, "stop": 0, "digest": b""}
        state = "queued" if number >= FEW - 40 else draw.choice(["done", "done", "failed", "cancelled"])
        tables[schema.jobs].append({**owned, **job, "state": state})
        tables[schema.job_events] += [
            {"job": common["id"], "number": step, "event": '{"kind": "step", "loss": 0.5, "step": 100, "seconds": 12.25}'}
            for step in range(1, 41)
        ]
        upload = {"name": "rows.csv", "format": "csv", "hash": "0" * 64, "bytes": 100_000, "report": '{"rows": 1000}'}
        tables[schema.uploads].append({**owned, **upload})
        tables[schema.audit].append({**common, "actor": "command line", "action": "create key", "subject": "a key", "details": "{}"})
        change = {"action": "deploy", "model": f"{vertical}-1", "previous": f"{vertical}-0", "actor": "command line"}
        tables[schema.versions].append({**common, "vertical": vertical, **change, "reason": "", "evidence": '{"answers": 1000}'})
    for table, rows in tables.items():
        _write(connection, table, list(rows[0]), [tuple(row.values()) for row in rows])


def _write(connection: Connection, table: Table, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Write rows in the fastest way that the database has."""
    if not rows:
        return
    names, driver = ", ".join(f'"{name}"' for name in columns), connection.connection.driver_connection
    assert driver is not None
    if connection.dialect.name == "sqlite":
        driver.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))})", rows)
        return
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


@contextmanager
def _unlimited(database: Database) -> Iterator[Connection]:
    """A transaction that may take as long as it takes, with memory to sort an index."""
    with database.writing() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA cache_size = -500000")
        else:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '1GB'")
        yield connection


def _settle(database: Database) -> None:
    """Do now what the databases would do in their own time: copy the log of SQLite into its file; vacuum and statistics of PostgreSQL."""
    with database._engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.rollback()
        driver.autocommit = True
        for command in ("SET statement_timeout = 0", "VACUUM ANALYZE", "CHECKPOINT"):
            driver.execute(command)
        driver.autocommit = False
