"""Deletes what a server stored of users, for good and in small steps, and tells the audit how much it was; knows nothing of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, or_, select

from vertune.core.errors import ConfigError
from vertune.core.ids import first_id_of
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
    records: Sequence[Mapping[str, Any]] = ()
    """One record in the forms in which it may be stored, such as with the fields alone that a vertical reads; `{"text": TEXT}` for a
    text. Empty restricts nothing."""
    feedback: bool = True
    """Whether feedback is deleted too."""

    def conditions(self) -> dict[str, str]:
        """Return the conditions as they may be shown: a record is only mentioned. Raises ConfigError if there is none."""
        shown = {name: str(value) for name in ("vertical", "key", "customer", "before") if (value := getattr(self, name)) is not None}
        if self.records:
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
    key = fingerprint_key(database)
    marks = [fingerprint(record, key) for record in wanted.records]
    deleted = {"answers": 0, "requests": 0, "feedback": 0}
    if wanted.feedback:  # first, because feedback on an answer is found by its request
        deleted["feedback"] = _repeat(database, schema.feedback, _of_feedback(wanted, marks))
    deleted["answers"] = _repeat(database, schema.answers, _of_answers(wanted, marks))
    if wanted.vertical is None and not marks:
        deleted["requests"] = _repeat(database, schema.requests, _of_requests(wanted))
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
    found = [] if wanted.before is None else [table.id < first_id_of(wanted.before)]
    return found + [table[name] == value for name in ("key", "customer") if (value := getattr(wanted, name)) is not None]


def _of_answers(wanted: Deletion, marks: Sequence[bytes]) -> list[ColumnElement[bool]]:
    table = schema.answers.c
    found = [] if wanted.before is None else [table.request < first_id_of(wanted.before)]
    if wanted.vertical is not None:
        found.append(table.vertical == wanted.vertical)
    if marks:
        found.append(table.fingerprint.in_(marks))
    if wanted.key is not None or wanted.customer is not None:
        found.append(table.request.in_(select(schema.requests.c.id).where(*_of_requests(wanted))))
    return found


def _of_feedback(wanted: Deletion, marks: Sequence[bytes]) -> list[ColumnElement[bool]]:
    table = schema.feedback.c
    found = [] if wanted.before is None else [table.id < first_id_of(wanted.before)]
    found += [table[name] == value for name in ("vertical", "customer") if (value := getattr(wanted, name)) is not None]
    if wanted.key is not None:  # also what another key said about an answer to this one
        asked = select(schema.requests.c.id).where(schema.requests.c.key == wanted.key)
        found.append(or_(table.key == wanted.key, table.request.in_(asked)))
    return [*found, table.fingerprint.in_(marks)] if marks else found
