"""Who changed what on a server, and when: entries that are only added; knows nothing of what was changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, select

from vertune.core.ids import time_ordered_id
from vertune.store import schema
from vertune.store.database import format_time


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change."""

    id: str
    at: str
    actor: str
    """Who made it: the id of an API key, or `command line`."""
    action: str
    subject: str
    """What was changed."""
    details: dict[str, Any]
    """What else is to be known of it; never a text of a user."""


def note(connection: Connection, actor: str, action: str, subject: str, details: dict[str, Any]) -> None:
    """Add an entry, in the transaction in which the change itself is made."""
    row = {
        "id": time_ordered_id(), "at": format_time(datetime.now(UTC)), "actor": actor, "action": action, "subject": subject,
        "details": orjson.dumps(details, default=str).decode(),
    }  # fmt: skip
    connection.execute(schema.audit.insert().values(row))


def about(connection: Connection, subject: str, after: str, limit: int = 1000) -> list[AuditEntry]:
    """Return the entries about a subject, in the order in which they were made, at most `limit`, from the one after the id `after`."""
    table = schema.audit
    meant = [table.c.id > after, table.c.subject == subject]
    rows = connection.execute(select(table).where(*meant).order_by(table.c.id).limit(limit))
    return [AuditEntry(**{**row, "details": orjson.loads(row["details"])}) for row in rows.mappings()]


def entries(connection: Connection, after: str = "", limit: int = 100) -> list[AuditEntry]:
    """Return entries in the order in which they were made, at most `limit`, from the one after the id `after`."""
    table = schema.audit
    rows = connection.execute(select(table).where(table.c.id > after).order_by(table.c.id).limit(limit))
    return [AuditEntry(**{**row, "details": orjson.loads(row["details"])}) for row in rows.mappings()]
