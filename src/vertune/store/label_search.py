"""Searches the records of a labelling project by their texts and by what people and the model say of them; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from vertune.store import schema
from vertune.store.labels import LabelledRecord, LabelState, read

_SCANNED = 50_000
"""Maximum number of records among which one page of a search is found."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are meant; None does not restrict them."""

    text: str | None = None
    """A part of the record's values, in any case of letters."""
    label: str | None = None
    """A part of what an annotator or the reviewer said, as JSON writes it."""
    annotator: str | None = None
    state: LabelState | None = None
    least: float | None = None
    """Smallest confidence of the suggestion."""
    most: float | None = None
    differs: bool = False
    """Only records of which an annotator says something else than the suggestion."""
    disagree: bool = False
    """Only records of which annotators say different things."""
    held: bool | None = None
    undecided: bool = False
    """Only records that no reviewer decided on."""


def find(connection: Connection, project: str, wanted: Filter, after: int, limit: int) -> tuple[list[LabelledRecord], int | None]:
    """Return records in the order of their numbers, at most `limit`, and the number after which to go on; None at the end.

    So that a page takes a moment even if little is found, it may have fewer records than there are.
    """
    table = schema.records.c
    last = after + _SCANNED
    conditions = [table.project == project, table.number > after, *_conditions(wanted, project)]
    statement = select(table.number).where(*conditions, table.number <= last).order_by(table.number).limit(limit)
    numbers = list(connection.scalars(statement))
    if len(numbers) == limit:
        following: int | None = numbers[-1]
    else:
        highest = connection.scalar(select(func.max(table.number)).where(table.project == project))
        following = last if highest is not None and highest > last else None
    return read(connection, project, numbers), following


def _conditions(wanted: Filter, project: str) -> Iterator[ColumnElement[bool]]:
    record, label, decision = schema.records.c, schema.labels.c, schema.decisions.c
    given = [label.project == project, label.number == record.number]
    judged = [decision.project == project, decision.number == record.number]
    if wanted.held is not None:
        yield record.held == int(wanted.held)
    if wanted.text:
        yield record.record.icontains(_inside_json(wanted.text), autoescape=True)
    if wanted.least is not None:
        yield record.confidence >= wanted.least
    if wanted.most is not None:
        yield record.confidence <= wanted.most
    if wanted.label is not None:
        quoted = orjson.dumps(wanted.label).decode()
        ruled = exists().where(*judged, decision.target.contains(quoted, autoescape=True))
        yield or_(exists().where(*given, label.target.contains(quoted, autoescape=True)), ruled)
    chosen = [*([] if wanted.annotator is None else [label.annotator == wanted.annotator])]
    chosen += [] if wanted.state is None else [label.state == wanted.state]
    if chosen:
        yield exists().where(*given, *chosen)
    done = [*given, label.state == "done"]
    if wanted.differs:
        yield exists().where(*done, label.target != record.suggestion)
    if wanted.disagree:
        yield select(func.count(label.target.distinct())).where(*done).scalar_subquery() > 1
    if wanted.undecided:
        yield ~exists().where(*judged)


def _inside_json(text: str) -> str:
    """Return a text as it stands inside a string of JSON."""
    return orjson.dumps(text).decode()[1:-1]
