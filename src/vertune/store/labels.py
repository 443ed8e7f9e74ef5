"""Labels that annotators give to the records of a project: reserved, stored, undone, decided on and counted; knows nothing of models.

A record has as many places as annotators must see it. Whoever asks for records gets a place in each for some time (a lease), so that no
record is given to more annotators than that, however many ask at once. A label that arrives after its lease ended is stored nevertheless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson
from sqlalchemy import ColumnElement, Connection, Row, delete, exists, func, or_, select, update

from vertune.core.ids import time_ordered_id
from vertune.store import projects, schema
from vertune.store.database import Database, format_time, insert
from vertune.store.projects import Project, StoredRecord, in_parts

LabelState = Literal["pending", "draft", "done", "skipped", "rejected"]
LEASE = timedelta(minutes=15)
"""How long a record stays reserved for an annotator who gives no sign."""
_STEP = 500
Revision = tuple[str | None, int, str | None, int]
"""The id of the last label of a project, the number of its labels, the time of its last decision, and the number of its decisions."""


@dataclass(frozen=True, slots=True)
class Label:
    """What one annotator says of a record."""

    number: int
    annotator: str
    id: str
    at: str
    state: LabelState
    target: dict[str, Any] | None = None
    """The target fields of the task; None unless the state is `done` or `draft`."""
    seconds: float | None = None
    """How long the annotator looked at the record."""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A label as an annotator sends it. Of two changes of a record by an annotator, the one with the greater version holds."""

    number: int
    state: LabelState
    target: Mapping[str, Any] | None
    seconds: float | None
    version: int


@dataclass(slots=True)
class Saved:
    """What became of changes, by the numbers of their records."""

    stored: list[int] = field(default_factory=list)
    """Those that hold now; one that was sent before is among them."""
    stale: list[int] = field(default_factory=list)
    """Those that were older than what is stored."""
    unknown: list[int] = field(default_factory=list)
    """Those whose record does not exist."""
    taken: list[int] = field(default_factory=list)
    """Those that would take a skip back although as many others as must see the record have it now."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The right answer that a reviewer decided on."""

    number: int
    at: str
    reviewer: str
    target: dict[str, Any]
    reason: str


@dataclass(frozen=True, slots=True)
class LabelledRecord:
    """A record with all that people said of it."""

    record: StoredRecord
    labels: list[Label] = field(default_factory=list)
    """In the order in which they were given."""
    decision: Decision | None = None

    @property
    def votes(self) -> dict[str, dict[str, Any]]:
        """What the annotators said who have finished, by the annotator, in the order in which they did."""
        return {label.annotator: label.target for label in self.labels if label.state == "done" and label.target is not None}

    @property
    def decided(self) -> dict[str, Any] | None:
        """The answer on which a reviewer decided."""
        return None if self.decision is None else self.decision.target

    @property
    def rejected(self) -> bool:
        """Whether an annotator said that the record can't be labelled."""
        return any(label.state == "rejected" for label in self.labels)


def as_text(target: Mapping[str, Any]) -> str:
    """Return a target as text; equal targets have equal texts, whatever the order of labels and spans."""
    ordered = {name: sorted(value, key=_json) if isinstance(value, list) else value for name, value in target.items()}
    return _json(ordered)


def reserve(database: Database, project: Project, annotator: str, count: int, now: datetime) -> list[LabelledRecord]:
    """Return `count` records for an annotator, the next ones in rank, and reserve a place in each of them.

    Those that are reserved for the annotator already come first. There are fewer records if no more are free.
    """
    table, records = schema.labels.c, schema.records.c
    until = format_time(now + LEASE)
    own = select(table.number).where(table.project == project.id, table.annotator == annotator, table.state == "pending")
    with database.writing() as connection:
        projects.lock(connection, project.id)
        _free_expired(connection, project.id, now)
        numbers = list(connection.scalars(own.order_by(table.id).limit(count)))
        for part in in_parts(numbers, _STEP):
            connection.execute(update(schema.labels).where(*_mine(project.id, annotator, part)).values(until=until))
        taken = exists().where(table.project == project.id, table.number == records.number, table.annotator == annotator)
        free = select(records.number).where(records.project == project.id, records.places > 0, records.held == 0, ~taken)
        new = list(connection.scalars(free.order_by(records.rank, records.number).limit(count - len(numbers))))
        _add_places(connection, project.id, new, -1)
        if new:
            base = {"project": project.id, "annotator": annotator, "at": format_time(now), "state": "pending", "until": until, "version": 0}
            with tallied(connection, project.id, new):
                connection.execute(schema.labels.insert(), [{**base, "number": number, "id": time_ordered_id()} for number in new])
        return read(connection, project.id, [*numbers, *new], annotator)


def save(
    database: Database, project: Project, annotator: str, changes: Sequence[Change], now: datetime, batch: str | None = None
) -> Saved:  # fmt: skip
    """Store what an annotator says; it is on the disk when this returns. A change that is sent again changes nothing.

    `batch` is the id by which all of them can be undone at once.
    """
    saved = Saved()
    with database.writing() as connection:
        projects.lock(connection, project.id)
        numbers = [change.number for change in changes]
        before = {row.number: row for row in _rows(connection, project.id, numbers, annotator)}
        places = _places(connection, project.id, numbers)
        rows: dict[int, dict[str, Any]] = {}
        moved: dict[int, int] = {}
        for change in sorted(changes, key=lambda one: one.version):
            old = rows.get(change.number) or (dict(before[change.number]._mapping) if change.number in before else None)
            if change.number not in places:
                saved.unknown.append(change.number)
            elif old is not None and old["version"] >= change.version:
                (saved.stored if old["version"] == change.version else saved.stale).append(change.number)
            elif old is not None and old["state"] == "skipped" and _occupies(change.state) and places[change.number] < 1:
                saved.taken.append(change.number)
            else:
                rows[change.number] = row = _row(project.id, annotator, change, now, batch)
                moved[change.number] = (
                    moved.get(change.number, 0) + _occupies(None if old is None else old["state"]) - _occupies(row["state"])
                )
                saved.stored.append(change.number)
        if rows:
            statement = insert(connection, schema.labels)
            values = {
                name: statement.excluded[name] for name in next(iter(rows.values())) if name not in ("project", "number", "annotator")
            }
            keys = list(schema.labels.primary_key.columns)
            with tallied(connection, project.id, list(rows)):
                connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), list(rows.values()))
        for by in (1, -1):
            _add_places(connection, project.id, [number for number, places in moved.items() if places == by], by)
    return saved


def undo_batch(database: Database, project: Project, annotator: str, batch: str) -> int:
    """Delete the labels that were given together and have not been changed since; return how many they were."""
    table = schema.labels.c
    meant = [table.project == project.id, table.batch == batch, table.annotator == annotator]
    with database.writing() as connection:
        projects.lock(connection, project.id)
        numbers = list(connection.scalars(select(table.number).where(*meant)))
        with tallied(connection, project.id, numbers):
            connection.execute(delete(schema.labels).where(*meant))
        _add_places(connection, project.id, numbers, 1)
    return len(numbers)


def decide(database: Database, project: Project, decision: Decision) -> None:
    """Store the right answer of a record, in place of an earlier decision on it."""
    row = {
        "project": project.id, "number": decision.number, "at": decision.at, "reviewer": decision.reviewer,
        "target": as_text(decision.target), "reason": decision.reason,
    }  # fmt: skip
    with database.writing() as connection:
        statement = insert(connection, schema.decisions).values(row)
        changed = {name: statement.excluded[name] for name in ("at", "reviewer", "target", "reason")}
        connection.execute(statement.on_conflict_do_update(index_elements=list(schema.decisions.primary_key.columns), set_=changed))


def withdraw(database: Database, project: Project, number: int) -> bool:
    """Delete the decision on a record; return whether there was one."""
    table = schema.decisions.c
    with database.writing() as connection:
        return bool(connection.execute(delete(schema.decisions).where(table.project == project.id, table.number == number)).rowcount)


def remove_of(database: Database, annotator: str, before: str | None) -> int:
    """Delete what an annotator said in all projects, or with a time in UTC before it; return how many labels that were."""
    table = schema.labels.c
    conditions = [table.annotator == annotator, *([] if before is None else [table.at < before])]
    with database.writing() as connection:
        found = list(connection.execute(select(table.project, table.number, table.state).where(*conditions)))
        for project in sorted({row.project for row in found}):
            projects.lock(connection, project)
            mine = {row.number: row.state for row in found if row.project == project}
            with tallied(connection, project, list(mine)):
                connection.execute(delete(schema.labels).where(table.project == project, *conditions))
            _add_places(connection, project, [number for number, state in mine.items() if _occupies(state)], 1)
    return len(found)


def remove_records(database: Database, fingerprints: Sequence[bytes], customer: str | None) -> tuple[int, list[str]]:
    """Delete records with one of these fingerprints, with all that people said of them, of a customer or with None of all.

    Return how many they were, and the ids of the projects that they belonged to.
    """
    table, owner = schema.records.c, schema.projects.c
    statement = select(table.project, table.number, table.held).where(table.fingerprint.in_(fingerprints))
    if customer is not None:
        statement = statement.where(table.project.in_(select(owner.id).where(owner.customer == customer)))
    with database.writing() as connection:
        found = list(connection.execute(statement))
        for project, number, held in found:
            projects.lock(connection, project)
            with tallied(connection, project, [number]):
                connection.execute(delete(schema.labels).where(schema.labels.c.project == project, schema.labels.c.number == number))
            for other in (schema.decisions, schema.records):
                connection.execute(delete(other).where(other.c.project == project, other.c.number == number))
            fewer = {"records": owner.records - 1, "held": owner.held - held}
            connection.execute(update(schema.projects).where(owner.id == project).values(fewer))
    return len(found), sorted({project for project, _, _ in found})


def read(connection: Connection, project: str, numbers: Sequence[int], annotator: str | None = None) -> list[LabelledRecord]:
    """Return records with their labels and decisions, in the order of the numbers; with an annotator, only with this one's labels."""
    records = projects.records(connection, project, numbers)
    given: dict[int, list[Label]] = {}
    for row in sorted(_rows(connection, project, numbers, annotator), key=lambda row: str(row.id)):
        given.setdefault(row.number, []).append(_label(row))
    decided: dict[int, Decision] = {}
    if annotator is None:
        table = schema.decisions.c
        for part in in_parts(numbers, _STEP):
            for row in connection.execute(select(schema.decisions).where(table.project == project, table.number.in_(part))):
                decided[row.number] = Decision(row.number, row.at, row.reviewer, orjson.loads(row.target), row.reason)
    return [LabelledRecord(records[number], given.get(number, []), decided.get(number)) for number in numbers if number in records]


def labels_of(
    connection: Connection, project: str, annotator: str | None, state: LabelState | None, before: str | None, limit: int
) -> list[LabelledRecord]:  # fmt: skip
    """Return records with one label each, the last changed first, at most `limit`; only those before the id `before`, if it is given."""
    table = schema.labels.c
    conditions = [table.project == project]
    conditions += [] if annotator is None else [table.annotator == annotator]
    conditions += [] if state is None else [table.state == state]
    conditions += [] if before is None else [table.id < before]
    found = [_label(row) for row in connection.execute(select(schema.labels).where(*conditions).order_by(table.id.desc()).limit(limit))]
    records = projects.records(connection, project, [label.number for label in found])
    return [LabelledRecord(records[label.number], [label]) for label in found if label.number in records]


def each_labelled(database: Database, project: str, held: bool | None = None) -> Iterator[LabelledRecord]:
    """Yield the records that somebody labelled or decided on, in the order of their numbers, in pages.

    `held` restricts them to the hold-out, or to all others.
    """
    labels, decisions, after = schema.labels.c, schema.decisions.c, -1
    while True:
        mine = [labels.project == project, labels.number > after, labels.state.in_(("done", "rejected"))]
        given = select(labels.number).where(*mine).distinct().order_by(labels.number).limit(_STEP)
        decided = select(decisions.number).where(decisions.project == project, decisions.number > after)
        with database.reading() as connection:
            several = [list(connection.scalars(one)) for one in (given, decided.order_by(decisions.number).limit(_STEP))]
            full = [numbers[-1] for numbers in several if len(numbers) == _STEP]
            end = min(full, default=None)
            numbers = sorted({number for numbers in several for number in numbers if end is None or number <= end})
            page = read(connection, project, numbers)
        yield from (one for one in page if held is None or one.record.held == held)
        if end is None:
            return
        after = end


def counts(connection: Connection, project: str) -> dict[str, dict[str, int]]:
    """Return, for each annotator, the number of labels in each state."""
    table = schema.tallies.c
    statement = select(table.annotator, table.state, table.count).where(table.project == project, table.annotator != "", table.count > 0)
    found: dict[str, dict[str, int]] = {}
    for annotator, state, count in connection.execute(statement):
        found.setdefault(annotator, {})[state] = count
    return found


def seconds(connection: Connection, project: str, annotator: str, limit: int) -> list[float]:
    """Return how long an annotator took for each of the last `limit` labels."""
    table = schema.labels.c
    last = select(table.seconds).where(table.project == project, table.annotator == annotator, table.state == "done")
    return [value for value in connection.scalars(last.order_by(table.id.desc()).limit(limit)) if value is not None]


def shared_records(connection: Connection, project: str, limit: int) -> list[int]:
    """Return the numbers of records that several people labelled, a reviewer among them, of the last `limit` that were labelled."""
    table, decision = schema.labels.c, schema.decisions.c
    last = select(table.number).where(table.project == project, table.state == "done").order_by(table.id.desc()).limit(2 * limit)
    numbers = list(dict.fromkeys(connection.scalars(last)))[:limit]
    decided = exists().where(decision.project == project, decision.number == table.number)
    found: set[int] = set()
    for part in in_parts(numbers, _STEP):
        several = select(table.number).where(table.project == project, table.number.in_(part), table.state == "done").group_by(table.number)
        found.update(connection.scalars(several.having(or_(func.count() > 1, decided))))
    return [number for number in numbers if number in found]


def taken_records(connection: Connection, project: str) -> set[int]:
    """Return the numbers of the records that annotators have reserved, labelled, skipped or rejected."""
    table = schema.labels.c
    return set(connection.scalars(select(table.number).where(table.project == project).distinct()))


def labelled_records(connection: Connection, project: str) -> int:
    """Return how many records somebody has labelled."""
    table = schema.tallies.c
    return int(connection.scalar(select(table.count).where(table.project == project, table.annotator == "", table.state == "done")) or 0)


def count_done(connection: Connection, project: str, after: str) -> int:
    """Return the number of labels that annotators gave, or changed, after an id (see `core.ids.first_id_of`)."""
    table = schema.labels.c
    meant = [table.project == project, table.id > after, table.state == "done"]
    return int(connection.execute(select(func.count()).select_from(schema.labels).where(*meant)).scalar_one())


def records_since(connection: Connection, project: str, after: str) -> int:
    """Return the number of records of which an annotator gave, or changed, a label after an id."""
    table = schema.labels.c
    meant = [table.project == project, table.id > after, table.state == "done"]
    return int(connection.execute(select(func.count(table.number.distinct())).where(*meant)).scalar_one())


def revision(connection: Connection, project: str) -> Revision:
    """Return what is another one after each change of the labels that annotators gave, and of the decisions on a project's records.

    A new or changed label has the largest id, and one that is deleted makes fewer of them; decisions have their times in the same way.
    """
    table, given, decided = schema.labels.c, schema.tallies.c, schema.decisions.c
    last = select(table.id).where(table.project == project, table.state == "done").order_by(table.id.desc()).limit(1)
    count = select(func.sum(given.count)).where(given.project == project, given.annotator != "", given.state == "done")
    decisions = select(func.max(decided.at), func.count()).where(decided.project == project)
    return (connection.scalar(last), int(connection.scalar(count) or 0), *connection.execute(decisions).one())


def decided_records(connection: Connection, project: str) -> int:
    """Return how many records a reviewer has decided on."""
    table = schema.decisions.c
    return int(connection.scalar(select(func.count()).select_from(schema.decisions).where(table.project == project)) or 0)


def decided_held(connection: Connection, project: str, since: str = "") -> int:
    """Return how many records of the hold-out a reviewer has decided on, at a time or later."""
    decided, known = schema.decisions.c, schema.records.c
    both = (known.project == decided.project) & (known.number == decided.number)
    meant = [decided.project == project, decided.at >= since, known.held == 1]
    found = select(func.count()).select_from(schema.decisions.join(schema.records, both)).where(*meant)
    return int(connection.execute(found).scalar_one())


def _free_expired(connection: Connection, project: str, now: datetime) -> None:
    """Give back the places of records whose annotators gave no sign for the time of a lease."""
    table = schema.labels.c
    over = [table.project == project, table.state == "pending", table.until < format_time(now)]
    found = list(connection.execute(select(table.number, table.annotator).where(*over)))
    if not found:
        return
    with tallied(connection, project, sorted({number for number, _ in found})):
        connection.execute(delete(schema.labels).where(*over))
    for number, _ in found:  # one by one, because several annotators may have left the same record
        _add_places(connection, project, [number], 1)


@contextmanager
def tallied(connection: Connection, project: str, numbers: Sequence[int]) -> Iterator[None]:
    """Keep the tallies of a project right while labels of records with these numbers are changed in the `with` block."""
    before = _tally(connection, project, numbers)
    yield
    changed = _tally(connection, project, numbers)
    changed.subtract(before)
    rows = [
        {"project": project, "annotator": annotator, "state": state, "count": by}
        for (annotator, state), by in sorted(changed.items())
        if by
    ]
    if rows:
        statement = insert(connection, schema.tallies)
        total = {"count": schema.tallies.c.count + statement.excluded["count"]}
        connection.execute(statement.on_conflict_do_update(index_elements=list(schema.tallies.primary_key.columns), set_=total), rows)


def _tally(connection: Connection, project: str, numbers: Sequence[int]) -> Counter[tuple[str, str]]:
    """Count the labels of records by annotator and state, and the records that somebody labelled."""
    found = Counter[tuple[str, str]]()
    done: set[int] = set()
    table = schema.labels.c
    counted = select(table.number, table.annotator, table.state)
    rows = (row for part in in_parts(numbers, _STEP) for row in connection.execute(counted.where(*_mine(project, None, part))))
    for row in rows:
        found[row.annotator, row.state] += 1
        if row.state == "done":
            done.add(row.number)
    found["", "done"] = len(done)
    return found


def _add_places(connection: Connection, project: str, numbers: Iterable[int], by: int) -> None:
    table = schema.records
    for part in in_parts(numbers, _STEP):
        chosen = update(table).where(table.c.project == project, table.c.number.in_(part))
        connection.execute(chosen.values(places=table.c.places + by))


def _places(connection: Connection, project: str, numbers: Sequence[int]) -> dict[int, int]:
    """Return the number of free places of those of the records that exist."""
    table, found = schema.records.c, dict[int, int]()
    for part in in_parts(numbers, _STEP):
        statement = select(table.number, table.places).where(table.project == project, table.number.in_(part))
        found |= {row.number: row.places for row in connection.execute(statement)}
    return found


def _rows(connection: Connection, project: str, numbers: Sequence[int], annotator: str | None) -> list[Row[Any]]:
    return [
        row
        for part in in_parts(numbers, _STEP)
        for row in connection.execute(select(schema.labels).where(*_mine(project, annotator, part)))
    ]


def _mine(project: str, annotator: str | None, numbers: Sequence[int]) -> list[ColumnElement[bool]]:
    table = schema.labels.c
    return [table.project == project, table.number.in_(numbers), *([] if annotator is None else [table.annotator == annotator])]


def _row(project: str, annotator: str, change: Change, now: datetime, batch: str | None) -> dict[str, Any]:
    return {
        "project": project, "number": change.number, "annotator": annotator, "id": time_ordered_id(), "at": format_time(now),
        "state": change.state, "until": format_time(now + LEASE) if change.state == "pending" else None,
        "target": None if change.target is None else as_text(change.target), "seconds": change.seconds, "version": change.version,
        "batch": batch,
    }  # fmt: skip


def _occupies(state: str | None) -> int:
    """Return 1 if a label in this state takes a place of the record, else 0: a skipped record is left to other annotators."""
    return int(state is not None and state != "skipped")


def _label(row: Row[Any]) -> Label:
    target = None if row.target is None else orjson.loads(row.target)
    return Label(row.number, row.annotator, row.id, row.at, row.state, target=target, seconds=row.seconds, version=row.version)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
