"""Canned replies, which agents have at hand: rows as they are written and found; knows nothing of conversations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, select

from vertune.store import schema
from vertune.store.database import format_time, insert


@dataclass(frozen=True, slots=True)
class Canned:
    """A canned reply of a customer."""

    customer: str
    name: str
    texts: dict[str, str]
    """The text by language."""
    changed: str
    actor: str


def put(connection: Connection, customer: str, name: str, texts: dict[str, str], actor: str) -> Canned:
    """Add a canned reply, or replace the one with this name."""
    row = {
        "customer": customer, "name": name, "texts": orjson.dumps(texts).decode(), "changed": format_time(datetime.now(UTC)),
        "actor": actor,
    }  # fmt: skip
    statement = insert(connection, schema.canned).values(row)
    keys = list(schema.canned.primary_key.columns)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=row))
    return Canned(customer, name, texts, row["changed"], actor)


def of(connection: Connection, customer: str) -> list[Canned]:
    """Return the canned replies of a customer, in the order of their names."""
    table = schema.canned
    return [_canned(row) for row in connection.execute(select(table).where(table.c.customer == customer).order_by(table.c.name))]


def remove(connection: Connection, customer: str, name: str | None = None) -> int:
    """Delete a canned reply of a customer, or all of them; return how many there were."""
    table = schema.canned
    mine = [table.c.customer == customer, *([] if name is None else [table.c.name == name])]
    return int(connection.execute(delete(table).where(*mine)).rowcount)


def _canned(row: Row[Any]) -> Canned:
    return Canned(row.customer, row.name, orjson.loads(row.texts), row.changed, row.actor)
