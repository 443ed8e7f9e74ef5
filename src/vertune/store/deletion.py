"""Deletes what a server stored of users, for good and in small steps, and tells the audit how much it was; knows nothing of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from vertune.core.errors import ConfigError
from vertune.core.ids import first_id_at
from vertune.store import audit, schema
from vertune.store.database import Database
from vertune.store.traffic import fingerprint, fingerprint_key

_STEP = 2000
"""Maximum number of rows that one transaction deletes, so that other writers wait for a short time."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What to delete: everything to which all conditions apply that are not None."""

    vertical: str | None = None
    key: str | None = None
    """The id of an API key."""
    customer: str | None = None
    before: datetime | None = None
    record: Mapping[str, Any] | None = None
    """One record, whose fields have the names with which it was sent; a text alone is the record `{"text": TEXT}`."""
    feedback: bool = True
    """Whether feedback is deleted too."""

    def conditions(self) -> dict[str, str]:
        """Return the conditions as they may be shown: a record is only mentioned. Raises ConfigError if there is none."""
        shown = {name: str(value) for name in ("vertical", "key", "customer", "before") if (value := getattr(self, name)) is not None}
        if self.record is not None:
            shown["record"] = "(one)"
        if not shown:
            raise ConfigError(
                "No condition names what to delete; expected a vertical, a key, a customer, a time or a text. Pass at least one."
            )
        return shown


def carry_out(database: Database, wanted: Deletion, actor: str) -> dict[str, int]:
    """Delete, and return the number of deleted answers, requests and feedback; usage stays, because it contains no text.

    Texts of requests stand in answers, so a request is deleted only where a whole key, customer or time is meant. An interrupted
    deletion can be repeated. Raises ConfigError if nothing says what to delete.
    """
    shown = wanted.conditions()
    mark = None if wanted.record is None else fingerprint(wanted.record, fingerprint_key(database))
    deleted = {"answers": _repeat(database, schema.answers, _of_answers(wanted, mark)), "requests": 0, "feedback": 0}
    if wanted.vertical is None and mark is None:
        deleted["requests"] = _repeat(database, schema.requests, _of_requests(wanted))
    if wanted.feedback:
        deleted["feedback"] = _repeat(database, schema.feedback, _of_feedback(wanted, mark))
    with database.writing() as connection:
        audit.note(connection, actor, "delete", "stored texts", {**shown, **deleted})
    return deleted


def _repeat(database: Database, table: Table, conditions: Sequence[ColumnElement[bool]]) -> int:
    """Delete rows step by step, and return how many were deleted."""
    total = 0
    while True:
        with database.writing() as connection:
            count = _delete_some(connection, table, conditions)
        total += count
        if count < _STEP:
            return total


def _delete_some(connection: Connection, table: Table, conditions: Sequence[ColumnElement[bool]]) -> int:
    keys = list(table.primary_key.columns)
    rows = connection.execute(select(*keys).where(*conditions).limit(_STEP)).all()
    if len(keys) == 1:
        connection.execute(delete(table).where(keys[0].in_([row[0] for row in rows])))
    else:
        for row in rows:
            connection.execute(delete(table).where(*(key == value for key, value in zip(keys, row, strict=True))))
    return len(rows)


def _of_requests(wanted: Deletion) -> list[ColumnElement[bool]]:
    table = schema.requests.c
    found = [] if wanted.before is None else [table.id < first_id_at(wanted.before.timestamp())]
    return found + [table[name] == value for name in ("key", "customer") if (value := getattr(wanted, name)) is not None]


def _of_answers(wanted: Deletion, mark: bytes | None) -> list[ColumnElement[bool]]:
    table = schema.answers.c
    found = [] if wanted.before is None else [table.request < first_id_at(wanted.before.timestamp())]
    if wanted.vertical is not None:
        found.append(table.vertical == wanted.vertical)
    if mark is not None:
        found.append(table.fingerprint == mark)
    if wanted.key is not None or wanted.customer is not None:
        found.append(table.request.in_(select(schema.requests.c.id).where(*_of_requests(wanted))))
    return found


def _of_feedback(wanted: Deletion, mark: bytes | None) -> list[ColumnElement[bool]]:
    table = schema.feedback.c
    found = [] if wanted.before is None else [table.id < first_id_at(wanted.before.timestamp())]
    found += [table[name] == value for name in ("vertical", "key", "customer") if (value := getattr(wanted, name)) is not None]
    return found if mark is None else [*found, table.fingerprint == mark]
