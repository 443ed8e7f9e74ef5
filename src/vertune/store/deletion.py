"""Deletes what a server stored of users, for good and in small steps, and tells the audit how much it was; knows nothing of models."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, or_, select

from vertune.core.errors import ConfigError
from vertune.core.ids import first_id_of
from vertune.store import alerts, audit, canned, conversations, deliveries, entries, measurements, retrainings, schema, users
from vertune.store.actions import as_json
from vertune.store.cached import touch
from vertune.store.database import Database, format_time, without_index
from vertune.store.sessions import Sessions
from vertune.store.traffic import fingerprint, fingerprint_key

_STEP = 2000
"""Maximum number of requests or feedbacks of which one transaction deletes rows."""
_FIRST_STEP = 250
"""The same for the first transaction; how long it takes decides about the next one."""
_SMALLEST_STEP = 50
_STEP_SECONDS = 0.1
"""Seconds that a transaction may take before the next one gets fewer rows, because other writers wait for it."""
_LONGEST = 10_000
"""Number of characters of the longest text that is looked for in messages: databases compare no longer patterns than some 50,000 bytes."""
_PAUSE = 0.1
"""Minimum seconds between two transactions: SQLite looks every 0.1 s whether a lock that it waits for is free."""


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
    uploads: bool = False
    """With records: whether uploads that contain one are deleted too, with what jobs made of them."""

    @property
    def whole_customer(self) -> str | None:
        """The customer of which everything is meant; None if only a part is meant."""
        narrowed = self.vertical is not None or self.key is not None or self.before is not None or self.records
        return None if narrowed else self.customer

    @property
    def means_entries(self) -> bool:
        """Whether entries of FAQs may be meant: all of a customer, or those whose questions are one of the records."""
        return self.vertical is None and self.key is None and self.before is None and bool(self.customer is not None or self.records)

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

    def where(self, table: Any, names: Sequence[str]) -> list[ColumnElement[bool]]:
        """Return those of the conditions that these columns of a table must meet, and its ids, which begin with a time."""
        older = [] if self.before is None else [table.id < first_id_of(self.before)]
        return older + [table[name] == value for name in names if (value := getattr(self, name)) is not None]


def carry_out(database: Database, wanted: Deletion, actor: str, details: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Delete, and return the number of deleted answers, requests and feedback; usage stays, because it contains no text.

    With a whole customer, its users are deleted with their sessions, too.

    Texts of requests stand in answers, so a request is deleted only where a whole key, customer or time is meant. An interrupted
    deletion can be repeated. Raises ConfigError if nothing says what to delete.
    """
    shown = wanted.conditions()
    key = fingerprint_key(database)
    marks = [fingerprint(record, key) for record in wanted.records]
    deleted = Counter({"answers": 0, "requests": 0, "feedback": 0})
    if wanted.feedback:  # first, because feedback on an answer is found by its request
        _delete_feedback(database, wanted, marks, deleted)
    _delete_answers(database, wanted, marks, deleted)
    _delete_conversations(database, wanted, marks, deleted)
    with database.reading() as connection:
        messages = deliveries.without_evidence(connection)
        added = entries.meant(connection, wanted.customer, marks) if wanted.means_entries else []
    with database.writing() as connection:
        if wanted.whole_customer is not None:
            touch(connection, Sessions.revision)
            if gone := users.remove_customer(connection, wanted.whole_customer):
                deleted["users"] = gone
            canned.remove(connection, wanted.whole_customer)
        if gone := entries.forget(connection, added, actor):
            deleted["entries"] = gone
        _delete_monitoring(connection, wanted, messages, deleted)
        audit.note(connection, actor, "delete", "stored texts", {**shown, **deleted, **(details or {})})
    return dict(deleted)


def _delete_monitoring(connection: Connection, wanted: Deletion, messages: Mapping[str, str], deleted: Counter[str]) -> None:
    """Delete what was measured of a vertical or before a time; of anything narrower, the texts that measurements and alerts may quote."""
    if wanted.key is not None or wanted.customer is not None or wanted.records:
        measurements.forget_evidence(connection, wanted.vertical)
        alerts.forget_evidence(connection, wanted.vertical, messages)
        return
    zone = None if wanted.before is None else wanted.before.tzinfo or UTC  # one without a time zone is in UTC
    before = None if wanted.before is None else format_time(wanted.before.replace(tzinfo=zone).astimezone(UTC))
    gone = {
        "measurements": measurements.remove(connection, wanted.vertical, before),
        "alerts": alerts.remove(connection, wanted.vertical, before, unsolved_too=before is None),
    }
    if wanted.vertical is not None and before is None:
        alerts.remove_rules(connection, wanted.vertical)
        gone["retrainings"] = retrainings.remove(connection, wanted.vertical)
    deleted.update({kind: count for kind, count in gone.items() if count})


def _delete_feedback(database: Database, wanted: Deletion, marks: Sequence[bytes], deleted: Counter[str]) -> None:
    table, asked = schema.feedback.c, schema.requests.c
    found = wanted.where(table, ("vertical", "customer")) + ([table.fingerprint.in_(marks)] if marks else [])

    def delete_these(connection: Connection, ids: Sequence[str]) -> None:
        deleted["feedback"] += _delete(connection, schema.feedback, [table.id.in_(ids)])

    def delete_about(connection: Connection, ids: Sequence[str]) -> None:
        # SQLite would rather go through all feedback of a customer than look for the ids
        deleted["feedback"] += _delete(connection, schema.feedback, [table.request.in_(ids), *without_index(found)])

    _in_steps(database, table.id, found if wanted.key is None else [*found, table.key == wanted.key], delete_these)
    if wanted.key is not None:  # also what another key said about an answer to this one
        _in_steps(database, asked.id, [asked.key == wanted.key], delete_about)


def _delete_answers(database: Database, wanted: Deletion, marks: Sequence[bytes], deleted: Counter[str]) -> None:
    """Delete answers, and with them their requests where whole requests are meant, so that no answer is left without its request."""
    requests, answers = schema.requests.c, schema.answers.c
    chosen = [] if wanted.vertical is None else [answers.vertical == wanted.vertical]
    chosen += [answers.fingerprint.in_(marks)] if marks else []
    owned = [requests[name] == value for name in ("key", "customer") if (value := getattr(wanted, name)) is not None]
    id = requests.id if owned or not chosen else answers.request
    older = [] if wanted.before is None else [id < first_id_of(wanted.before)]

    def delete_of(connection: Connection, ids: Sequence[str]) -> None:
        deleted["answers"] += _delete(connection, schema.answers, [answers.request.in_(ids), *chosen])
        if not chosen:
            deleted["requests"] += _delete(connection, schema.requests, [requests.id.in_(ids)])

    _in_steps(database, id, [*older, *(owned or chosen)], delete_of)


def _delete_conversations(database: Database, wanted: Deletion, marks: Sequence[bytes], deleted: Counter[str]) -> None:
    """Delete conversations to which all conditions apply; with records, those in which a visitor wrote one of these texts."""
    table, said = schema.conversations.c, schema.turns.c
    if wanted.vertical is not None:  # a conversation belongs to an app, whose verticals may serve others
        return
    owned = [table[name] == value for name in ("key", "customer") if (value := getattr(wanted, name)) is not None]
    owned += [] if wanted.before is None else [table.id < first_id_of(wanted.before)]
    containing = [or_(table.id.in_(select(said.conversation).where(said.fingerprint.in_(marks))), *_with_early(wanted))] if marks else []

    def delete_these(connection: Connection, ids: Sequence[str]) -> None:
        if gone := conversations.remove(connection, ids):
            deleted["conversations"] += gone

    _in_steps(database, table.id, [*owned, *containing], delete_these)


def _with_early(wanted: Deletion) -> list[ColumnElement[bool]]:
    """Return the conditions of conversations in which one of the texts waits for an earlier message, as it was written."""
    early = schema.early_messages.c
    texts = {value for record in wanted.records for value in record.values() if isinstance(value, str) and 0 < len(value) <= _LONGEST}
    quoted = [early.content.contains(as_json(text), autoescape=True) for text in sorted(texts)]
    return [schema.conversations.c.id.in_(select(early.conversation).where(or_(*quoted)))] if quoted else []


def _in_steps(
    database: Database, id: ColumnElement[str], conditions: Sequence[ColumnElement[bool]],
    delete_of: Callable[[Connection, Sequence[str]], None],
) -> None:  # fmt: skip
    """Find ids in their order, and delete what belongs to them.

    Ids are found without the lock that writers need, and each search begins after the last id, so that it does not go through what is
    deleted already. A transaction that took long makes the next one smaller.
    """
    after, step = "", min(_FIRST_STEP, _STEP)
    while True:
        with database.reading() as connection:
            ids = list(connection.scalars(select(id).where(id > after, *conditions).order_by(id).limit(step)))
        if ids:
            with database.writing() as connection:
                started = time.monotonic()
                delete_of(connection, list(dict.fromkeys(ids)))
            seconds = time.monotonic() - started
        if len(ids) < step:
            return
        after = ids[-1]
        if seconds > _STEP_SECONDS:
            step = max(_SMALLEST_STEP, step // 2)
        elif seconds < _STEP_SECONDS / 2:
            step = min(_STEP, 2 * step)
        time.sleep(max(_PAUSE, seconds))


def _delete(connection: Connection, table: Table, conditions: Sequence[ColumnElement[bool]]) -> int:
    return int(connection.execute(delete(table).where(*conditions)).rowcount)
