"""Requests, their answers, and what they add to usage: rows as they are written and found; knows nothing of models and HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, select

from vertune.core.errors import NotFound
from vertune.store import schema
from vertune.store.database import Database, insert

_FINGERPRINT_BYTES = 8
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Used:
    """What one customer used with one key on one vertical on one day in UTC."""

    day: str
    customer: str
    key: str
    """The id of the API key; empty without one."""
    vertical: str


Amounts = tuple[int, int, int, int]
"""Requests, records, tokens and cached tokens."""


@dataclass(slots=True)
class Entry:
    """One finished request: its row, the rows of its answers, and what it adds to usage: requests, records, tokens, cached tokens."""

    request: dict[str, Any]
    answers: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[Used, Amounts] = field(default_factory=dict)


def answer_id(request: str, number: int) -> str:
    """Return the id of an answer: the id of its request, and its number among all answers of this request."""
    return f"{request}-{number}"


def parse_answer_id(id: str) -> tuple[str, int]:
    """Return the id of the request and the number of the answer; raise NotFound if this is not the id of an answer."""
    request, _, number = id.partition("-")
    if len(request) != _ID_DIGITS or not request.isalnum() or not number.isdecimal() or len(number) > 9:
        raise NotFound(
            f"'{id[:80]}' is not the id of an answer; expected 32 hexadecimal digits, '-' and a number. Send one of the "
            "field 'ids', which is beside answers."
        )
    return request, int(number)


def fingerprint_key(database: Database) -> bytes:
    """Return the secret of the database that fingerprints are made with, so that nobody can look for texts without it."""
    with database.reading() as connection:
        value: bytes = connection.scalars(select(schema.secrets.c.value).where(schema.secrets.c.name == "fingerprints")).one()
    return bytes(value)


def fingerprint(record: Mapping[str, Any], key: bytes) -> bytes:
    """Return a hash of all values of a record, by which its owner can find it again, also where it is stored masked or not at all.

    Fields without a value have no influence.
    """
    values = [record[name] for name in sorted(record) if record[name] is not None]
    try:
        content = orjson.dumps(values)
    except TypeError:  # an integer of more than 64 bits, which no model reads, but a client may send
        content = json.dumps(values, default=str).encode()
    return hashlib.blake2b(content, digest_size=_FINGERPRINT_BYTES, key=key).digest()


def idempotency_hash(value: str | None, key: bytes) -> str | None:
    """Return a hash of an idempotency key, because a client may make one of anything; None for None."""
    return None if value is None else hashlib.blake2b(value.encode(), digest_size=16, key=key).hexdigest()


def failed_verticals(names: Iterable[str]) -> str:
    """Return the names of the verticals of a request without answers, as its row has them, so that each can be searched for."""
    return f" {' '.join(names)} "


def write(connection: Connection, entries: Sequence[Entry]) -> None:
    """Write finished requests, and add them to usage, all in the transaction of the connection.

    A request whose `idempotency` the customer used before is a repetition: it is neither written nor counted.
    """
    plain = [entry for entry in entries if entry.request.get("idempotency") is None]
    repeatable = [entry for entry in entries if entry.request.get("idempotency") is not None]
    if plain:
        connection.execute(schema.requests.insert(), [entry.request for entry in plain])
    # with RETURNING, because the number of inserted rows is not known on PostgreSQL
    statement = insert(connection, schema.requests).on_conflict_do_nothing().returning(schema.requests.c.id)
    entries = [*plain, *(entry for entry in repeatable if connection.scalar(statement.values(entry.request)) is not None)]
    if answers := [answer for entry in entries for answer in entry.answers]:
        connection.execute(schema.answers.insert(), answers)
    add_usage(connection, (entry.usage for entry in entries))


def total(parts: Iterable[Mapping[Used, Amounts]]) -> dict[Used, Amounts]:
    """Return the sum of usage."""
    totals: dict[Used, Amounts] = {}
    for part in parts:
        for used, amounts in part.items():
            before = totals.get(used, (0, 0, 0, 0))
            totals[used] = (before[0] + amounts[0], before[1] + amounts[1], before[2] + amounts[2], before[3] + amounts[3])
    return totals


def add_usage(connection: Connection, parts: Iterable[Mapping[Used, Amounts]]) -> None:
    """Add to the usage of customers, in the transaction of the connection."""
    totals = total(parts)
    if not totals:
        return
    table, counts = schema.usage, ("requests", "records", "tokens", "cached_tokens")
    rows = [
        {"day": used.day, "customer": used.customer, "key": used.key, "vertical": used.vertical, **dict(zip(counts, amounts, strict=True))}
        for used, amounts in sorted(totals.items(), key=lambda item: (item[0].day, item[0].customer, item[0].key, item[0].vertical))
    ]  # in one order, so that two servers never wait for each other's rows
    statement = insert(connection, table)
    added = {name: table.c[name] + statement.excluded[name] for name in counts}
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=added), rows)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer that was given, with the customer that asked for it."""

    request: str
    number: int
    customer: str
    vertical: str
    model: str
    record: Mapping[str, Any] | None
    """The input as it was kept: masked, or None if texts of this vertical are not kept."""
    fingerprint: bytes | None
    answer: Mapping[str, Any]


def find_answer(connection: Connection, id: str) -> StoredAnswer | None:
    """Return the answer with this id; None if it was not stored (yet), or was deleted. Raises NotFound if this is no id of an answer."""
    request, number = parse_answer_id(id)
    answers, requests = schema.answers.c, schema.requests.c
    row = connection.execute(
        select(schema.answers, requests.customer)
        .join(schema.requests, requests.id == answers.request)
        .where(answers.request == request, answers.number == number)
    ).one_or_none()
    if row is None:
        return None
    record = None if row.record is None else orjson.loads(row.record)
    return StoredAnswer(
        request, number, row.customer, row.vertical, row.model, record=record, fingerprint=row.fingerprint, answer=orjson.loads(row.answer)
    )
