"""Entries of FAQs that people add to products in use: rows as they are written and found; knows nothing of how entries are searched.

A version of an entry never changes. A correction adds a version, and so does a withdrawal, whose version has no text. Only a deletion
removes versions: what is left of the entry is one version without a text, so that no product that was made with it finds it any longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, select

from vertune.core.errors import Conflict, NotFound
from vertune.core.ids import time_ordered_id
from vertune.store import audit, schema
from vertune.store.cached import touch
from vertune.store.database import format_time

REVISION = "entries"
"""The name under which the table `revisions` has the random value that changes with these rows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of an entry."""

    id: str
    version: int
    app: str
    customer: str
    """Whose conversations alone find it."""
    language: str
    question: str | None
    """How it is asked for; None if it was withdrawn."""
    answer: str | None
    """What is answered, word for word; None if it was withdrawn."""
    replaces: str | None
    """The id of the entry of the pack whose answer it replaces; None for a new one."""
    at: str
    """When the version was written, in UTC."""
    actor: str
    """Who wrote it."""
    fingerprint: bytes | None = None
    """The keyed hash of the message from which the question comes, by which its writer can have it deleted."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person writes."""

    app: str
    customer: str
    language: str
    question: str
    answer: str
    replaces: str | None = None
    fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """Which entry is meant."""

    id: str
    app: str
    customer: str | None
    """The customer who alone is meant; None for any."""


def revision(connection: Connection) -> str | None:
    """Return a random value that every change of entries replaces; None if there never was an entry."""
    value: str | None = connection.scalar(select(schema.revisions.c.value).where(schema.revisions.c.name == REVISION))
    return value


def add(connection: Connection, draft: Draft, actor: str, alike: Callable[[str, str], bool] = str.__eq__) -> Entry:
    """Add an entry, and return it; one of the same customer for the same question, or for the same entry of the pack, gets a new version.

    `alike` tells whether two questions are the same. What is there already is returned as it is.
    """
    touch(connection, REVISION)  # first, so that two servers add one after the other
    table = schema.entries.c
    mine = [table.app == draft.app, table.customer == draft.customer, table.language == draft.language, table.answer.is_not(None)]
    found = _latest(connection, mine)
    before = next((one for one in found if draft.replaces is not None and one.replaces == draft.replaces), None)
    if before is None:
        before = next((one for one in found if alike(one.question or "", draft.question)), None)
    if before is not None and draft.replaces is None:
        draft = replace(draft, replaces=before.replaces)
    if before is not None and (before.question, before.answer, before.replaces) == (draft.question, draft.answer, draft.replaces):
        return before
    return _write(connection, draft, before, actor)


def correct(connection: Connection, wanted: Named, seen: int, question: str, answer: str, actor: str) -> Entry:
    """Write a new version of an entry; `seen` is the version that was corrected.

    Raises NotFound if there is no such entry, or it was withdrawn, and Conflict if it has another version by now.
    """
    touch(connection, REVISION)
    before = get(connection, wanted)
    if before.version != seen:
        raise Conflict(f"The entry has the version {before.version}, and {seen} was corrected. Read it again, and correct this version.")
    draft = Draft(before.app, before.customer, before.language, question, answer, replaces=before.replaces, fingerprint=before.fingerprint)
    return _write(connection, draft, before, actor)


def withdraw(connection: Connection, wanted: Named, actor: str) -> None:
    """Let an entry be found no longer; its versions stay. Raises NotFound if there is none, or it was withdrawn before."""
    touch(connection, REVISION)
    before = get(connection, wanted)
    _insert(connection, _without_text(before, actor))
    audit.note(connection, actor, "withdraw entry", before.id, {"app": before.app, "version": before.version + 1})


def get(connection: Connection, wanted: Named) -> Entry:
    """Return the current version of an entry; raise NotFound if there is none, or it was withdrawn."""
    found = versions(connection, wanted)[-1]
    if found.answer is None:
        raise NotFound(f"The entry '{wanted.id[:32]}' of the app '{wanted.app[:80]}' was withdrawn. Add a new one.")
    return found


def versions(connection: Connection, wanted: Named) -> list[Entry]:
    """Return all versions of an entry, the first one first; raise NotFound if there is no such entry."""
    table = schema.entries.c
    mine = [table.id == wanted.id, table.app == wanted.app, *([] if wanted.customer is None else [table.customer == wanted.customer])]
    found = [_entry(row) for row in connection.execute(select(schema.entries).where(*mine).order_by(table.version))]
    if not found:
        raise NotFound(f"There is no entry '{wanted.id[:32]}' of the app '{wanted.app[:80]}'. List them with GET /v1/apps/APP/entries.")
    return found


def current(connection: Connection, app: str | None = None, customer: str | None = None) -> list[Entry]:
    """Return the last version of each entry, in the order in which they were added; those without a text were withdrawn."""
    table = schema.entries.c
    wanted = [column == value for column, value in ((table.app, app), (table.customer, customer)) if value is not None]
    return _latest(connection, wanted)


def meant(connection: Connection, customer: str | None, marks: Sequence[bytes]) -> list[str]:
    """Return the ids of entries with a text: those of a customer, or with the fingerprint of a question; with both, both must apply."""
    table = schema.entries.c
    wanted = [*([] if customer is None else [table.customer == customer]), *([table.fingerprint.in_(marks)] if marks else [])]
    return list(connection.scalars(select(table.id).where(*wanted, table.question.is_not(None)).distinct())) if wanted else []


def forget(connection: Connection, ids: Sequence[str], actor: str) -> int:
    """Delete the texts of entries for good, and return the number of entries. One version without a text is left of each."""
    if not ids:
        return 0
    table = schema.entries.c
    touch(connection, REVISION)
    for one in _latest(connection, [table.id.in_(ids)]):
        connection.execute(delete(schema.entries).where(table.id == one.id))
        _insert(connection, replace(_without_text(one, actor), fingerprint=None))
    return len(ids)


def deleted(connection: Connection) -> set[str]:
    """Return the ids of entries of which no version has a text any longer."""
    table = schema.entries.c
    return set(connection.scalars(select(table.id).group_by(table.id).having(func.max(table.question).is_(None))))


def _write(connection: Connection, draft: Draft, before: Entry | None, actor: str) -> Entry:
    id, version = (time_ordered_id(), 1) if before is None else (before.id, before.version + 1)
    written = Entry(
        id, version, draft.app, draft.customer, draft.language, question=draft.question, answer=draft.answer, replaces=draft.replaces,
        at=format_time(datetime.now(UTC)), actor=actor, fingerprint=draft.fingerprint,
    )  # fmt: skip
    _insert(connection, written)
    audit.note(connection, actor, "add entry" if before is None else "correct entry", id, {"app": draft.app, "version": version})
    return written


def _without_text(before: Entry, actor: str) -> Entry:
    return replace(before, version=before.version + 1, question=None, answer=None, at=format_time(datetime.now(UTC)), actor=actor)


def _insert(connection: Connection, entry: Entry) -> None:
    connection.execute(schema.entries.insert().values({name: getattr(entry, name) for name in entry.__dataclass_fields__}))


def _latest(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> list[Entry]:
    """Return the last versions of entries, as far as the conditions apply to these, in the order in which they were added."""
    table = schema.entries
    last = select(table.c.id, func.max(table.c.version).label("version")).group_by(table.c.id).subquery("last")
    joined = table.join(last, and_(table.c.id == last.c.id, table.c.version == last.c.version))
    return [_entry(row) for row in connection.execute(select(table).select_from(joined).where(*conditions).order_by(table.c.id))]


def _entry(row: Row[Any]) -> Entry:
    values = dict(row._mapping)
    return Entry(**{**values, "fingerprint": None if row.fingerprint is None else bytes(row.fingerprint)})
