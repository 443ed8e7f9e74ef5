"""Labelling projects and their records: rows as they are added, found, changed and deleted; knows nothing of models and HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple

import orjson
from sqlalchemy import Connection, Row, bindparam, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from vertune.core.errors import Conflict, NotFound, StorageError
from vertune.store import schema
from vertune.store.database import Database

ProjectState = Literal["filling", "open", "closed"]
_STEP = 2000
"""Maximum number of records that one transaction writes, because other writers wait for it."""
_SHORT_STEP, _PAUSE = 500, 0.05
"""The same while people label, and the seconds between two transactions: SQLite looks every 0.1 s whether a lock is free."""


@dataclass(frozen=True, slots=True)
class Project:
    """Records that people label for one task."""

    id: str
    at: str
    customer: str
    name: str
    """Unique among the projects of a customer."""
    upload: str
    """The id of the uploaded file with the records; empty for a file of the operator."""
    task: dict[str, Any]
    """The task, as a config names it."""
    settings: dict[str, Any]
    state: ProjectState = "open"
    """`filling` until all records are stored."""
    records: int = 0
    held: int = 0
    """The number of records in the hold-out."""
    turn: int = 0
    """How often the records were ranked."""
    found: dict[str, Any] = field(default_factory=dict)
    """What the last ranking found."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record of a project."""

    number: int
    fields: dict[str, Any]
    held: bool = False
    suggestion: dict[str, Any] | None = None
    """The target fields that the model suggests."""
    confidence: float | None = None


def add(database: Database, project: Project) -> None:
    """Add a project; raise Conflict if the customer has one of this name."""
    row = asdict(project) | {name: _json(getattr(project, name)) for name in ("task", "settings", "found")}
    try:
        with database.writing() as connection:
            connection.execute(schema.projects.insert().values(row))
    except StorageError as error:
        if not isinstance(error.__cause__, IntegrityError):
            raise
        raise Conflict(f"There is a project '{project.name}' already. Choose another name, or delete that project.") from error


def add_records(
    database: Database, project: Project, rows: Iterable[Mapping[str, Any]], done: Callable[[int], None] = lambda number: None
) -> None:
    """Store the records of a new project, and open it. `done` is called with the number of stored records.

    Each row has the values of the columns of the table `records`, apart from the project.
    """
    count = held = 0
    for part in in_parts(rows, _STEP):
        with database.writing() as connection:
            connection.execute(schema.records.insert(), [{"project": project.id, **row} for row in part])
        count, held = count + len(part), held + sum(row["held"] for row in part)
        done(count)
    with database.writing() as connection:
        change(connection, project.id, state="open", records=count, held=held)


def add_further(
    database: Database, project: Project, rows: Iterable[Mapping[str, Any]], done: Callable[[int], None] = lambda number: None
) -> list[tuple[int, bool]]:  # fmt: skip
    """Add records to a project that has records, those alone that it does not have; return the number of each, and whether it is new.

    Each row has the values of the columns of the table `records`, apart from the project and the number. A record that has the fingerprint
    of another one is the same.
    """
    found: list[tuple[int, bool]] = []
    for part in in_parts(rows, _STEP):
        with database.writing() as connection:
            found += _added(connection, project.id, part)
        done(len(found))
    return found


def _added(connection: Connection, project: str, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, bool]]:
    """Add those of the rows that the project does not have, and count them; nobody else adds records meanwhile."""
    lock(connection, project)
    table, owner = schema.records.c, schema.projects
    known: dict[bytes, int] = {}
    for part in in_parts((row["fingerprint"] for row in rows), 500):
        there = select(table.fingerprint, table.number).where(table.project == project, table.fingerprint.in_(part))
        known |= {bytes(mark): number for mark, number in connection.execute(there)}
    last = connection.scalar(select(func.max(table.number)).where(table.project == project))
    next_number = 0 if last is None else last + 1
    result, new = list[tuple[int, bool]](), list[dict[str, Any]]()
    for row in rows:
        number = known.setdefault(row["fingerprint"], next_number + len(new))
        is_new = number == next_number + len(new)
        result.append((number, is_new))
        new += [{"project": project, "number": number, **row}] if is_new else []
    if new:
        connection.execute(schema.records.insert(), new)
        more = {"records": owner.c.records + len(new), "held": owner.c.held + sum(row["held"] for row in new)}
        connection.execute(update(owner).where(owner.c.id == project).values(more))
    return result


def get(connection: Connection, name: str, customer: str) -> Project:
    """Return the project of a customer with this name; raise NotFound if there is none."""
    table = schema.projects.c
    row = connection.execute(select(schema.projects).where(table.customer == customer, table.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"There is no project '{name[:80]}'. List the projects with GET /v1/projects.")
    return _found(row)


def find(connection: Connection, customer: str | None) -> list[Project]:
    """Return the projects of a customer, or with None of all, newest first."""
    table = schema.projects.c
    conditions = [] if customer is None else [table.customer == customer]
    return [_found(row) for row in connection.execute(select(schema.projects).where(*conditions).order_by(table.id.desc()))]


def change(connection: Connection, id: str, **values: Any) -> None:
    """Change columns of a project; mappings are stored as JSON."""
    row = {name: _json(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    connection.execute(update(schema.projects).where(schema.projects.c.id == id).values(row))


def change_found(connection: Connection, id: str, values: Mapping[str, Any]) -> None:
    """Change entries of what is found about a project; the others stay, whoever changes them at the same time."""
    lock(connection, id)
    found = connection.scalar(select(schema.projects.c.found).where(schema.projects.c.id == id))
    change(connection, id, found={**orjson.loads(found or "{}"), **values})


def lock(connection: Connection, id: str) -> None:
    """Let no other transaction change the places of this project's records until this one ends."""
    table = schema.projects
    connection.execute(update(table).where(table.c.id == id).values(turn=table.c.turn))


def records(connection: Connection, project: str, wanted: Sequence[int]) -> dict[int, StoredRecord]:
    """Return records of a project by their numbers; those that do not exist are left out."""
    table, found = schema.records.c, {}
    for part in in_parts(wanted, 500):
        for row in connection.execute(select(schema.records).where(table.project == project, table.number.in_(part))):
            found[row.number] = _record(row)
    return found


def numbers(connection: Connection, project: str) -> list[tuple[int, bool]]:
    """Return the numbers of the records of a project, in order, with whether they are held out."""
    table = schema.records.c
    statement = select(table.number, table.held).where(table.project == project).order_by(table.number)
    return [(number, bool(held)) for number, held in connection.execute(statement)]


def set_ranks(database: Database, project: Project, order: Sequence[int]) -> None:
    """Let these records be labelled next, in this order, before all that were ranked earlier; counts as one turn."""
    table = schema.records
    turn = project.turn + 1
    meant = update(table).where(table.c.project == project.id, table.c.number == bindparam("record_number"))
    statement = meant.values(rank=bindparam("new_rank"))
    with database.writing() as connection:
        if order:
            ranks = [{"record_number": number, "new_rank": place - turn * _PLACES} for place, number in enumerate(order)]
            connection.execute(statement, ranks)
        change(connection, project.id, turn=turn)


_PLACES = 10_000
"""Maximum number of records that one turn ranks; their ranks lie before those of all earlier turns."""


class Suggestion(NamedTuple):
    """What a model says of a record."""

    number: int
    """The number of the record."""
    target: str
    """The target fields, as JSON."""
    confidence: float | None


def set_suggestions(database: Database, project: str, suggestions: Iterable[Suggestion]) -> None:
    """Store what a model suggests."""
    table = schema.records
    # names of parameters must differ from those of columns
    meant = update(table).where(table.c.project == project, table.c.number == bindparam("record_number"))
    statement = meant.values(suggestion=bindparam("target"), confidence=bindparam("certainty"))
    for part in in_parts(suggestions, _SHORT_STEP):
        rows = [{"record_number": one.number, "target": one.target, "certainty": one.confidence} for one in part]
        with database.writing() as connection:
            connection.execute(statement, rows)
        time.sleep(_PAUSE)


def remove(database: Database, id: str) -> None:
    """Delete a project with all that belongs to it, in small steps; its row goes last, so that a repetition finishes what was cut off."""
    for table in (schema.decisions, schema.labels, schema.records):
        while True:
            chosen = select(table.c.number).where(table.c.project == id).order_by(table.c.number).limit(1)
            with database.reading() as connection:
                first = connection.scalar(chosen)
            if first is None:
                break
            with database.writing() as connection:
                connection.execute(delete(table).where(table.c.project == id, table.c.number < first + _STEP))
    with database.writing() as connection:
        connection.execute(delete(schema.tallies).where(schema.tallies.c.project == id))
        connection.execute(delete(schema.projects).where(schema.projects.c.id == id))


def free_records(connection: Connection, project: str, most: int) -> int:
    """Return how many records can still be given to annotators, or `most` if they are more, because counting a million takes long."""
    table = schema.records.c
    free = select(table.number).where(table.project == project, table.places > 0, table.held == 0).limit(most).subquery()
    return int(connection.scalar(select(func.count()).select_from(free)) or 0)


def in_parts(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of at most `size` of the values, in their order."""
    left = iter(values)
    while part := list(islice(left, size)):
        yield part


def _record(row: Row[Any]) -> StoredRecord:
    suggestion = None if row.suggestion is None else orjson.loads(row.suggestion)
    return StoredRecord(row.number, orjson.loads(row.record), bool(row.held), suggestion, row.confidence)


def _found(row: Row[Any]) -> Project:
    values = dict(row._mapping)
    return Project(**values | {name: orjson.loads(values[name] or "{}") for name in ("task", "settings", "found")})


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
