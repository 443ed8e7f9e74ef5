"""Stretches of traffic with the feedback on it, as monitors compare them: rows as they are found; knows nothing of models and monitors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, and_, func, select, tuple_

from vertune.core.ids import first_id_at, first_id_of, time_of
from vertune.store import schema
from vertune.store.traffic import failed_verticals

HOUR = 3600.0
"""Seconds of an hour."""
_PAGE = 400
"""Number of rows that are searched by their keys at a time."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answer of a model, or one request that failed, with what users said of it."""

    request: str
    number: int
    at: float
    """When the request arrived, in seconds since 1970."""
    seconds: float
    record: dict[str, Any] | None
    answer: dict[str, Any] | None
    """None if the request failed."""
    confidence: float | None
    verdict: str | None = None
    target: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which requests are meant: those to a vertical between two ids that one model answered, or any with None."""

    vertical: str
    first: str
    end: str
    model: str | None = None

    @classmethod
    def between(cls, vertical: str, since: datetime, until: datetime, model: str | None = None) -> Stretch:
        """Return the stretch between two times."""
        return cls(vertical, first_id_of(since), first_id_of(until), model)


def last_rows(connection: Connection, stretch: Stretch, number: int) -> list[Row]:
    """Return the last answers of a stretch, oldest first, and the failed requests among them, at most `number` answers."""
    answers = schema.answers.c
    found = select(schema.answers).where(*_meant(stretch)).order_by(answers.request.desc(), answers.number.desc()).limit(number)
    rows = _answered(connection, found)
    if not rows:
        return []
    failed = _failed(connection, replace(stretch, first=rows[0].request))
    return with_feedback(connection, stretch.vertical, _in_order([*rows, *failed]))


def first_rows(connection: Connection, stretch: Stretch, number: int) -> list[Row]:
    """Return the first answers of a stretch, at most `number`, and the failed requests among them, oldest first, with feedback."""
    answers = schema.answers.c
    found = select(schema.answers).where(*_meant(stretch)).order_by(answers.request, answers.number).limit(number)
    rows = _answered(connection, found)
    failed = _failed(connection, replace(stretch, end=rows[-1].request)) if len(rows) == number else _failed(connection, stretch)
    return with_feedback(connection, stretch.vertical, _in_order([*rows, *failed])) if rows else []


def sampled_rows(connection: Connection, stretch: Stretch, number: int) -> list[Row]:
    """Return the answers of a stretch, or about `number` of them from all its hours if there are more, oldest first, with feedback.

    Failed requests are among them, or the same share of these.
    """
    hours = counts_by_hour(connection, stretch)
    total = sum(count for _, count in hours)
    if total <= number:
        return last_rows(connection, stretch, number)
    rows: list[Row] = []
    answers = schema.answers.c
    for begin, count in hours:
        part = replace(stretch, first=max(stretch.first, first_id_at(begin)), end=min(stretch.end, first_id_at(begin + HOUR)))
        taken = max(1, round(count * number / total))
        rows += _answered(connection, select(schema.answers).where(*_meant(part)).order_by(answers.request, answers.number).limit(taken))
    failed = list(_failed(connection, stretch))
    taken = math.ceil(len(failed) * number / total)
    some = [failed[place * len(failed) // taken] for place in range(taken)]  # at even distances
    return with_feedback(connection, stretch.vertical, _in_order([*rows, *some]))


def count_requests(connection: Connection, stretch: Stretch) -> int:
    """Return the number of answers of a stretch, and of requests that failed."""
    return count_answers(connection, stretch) + sum(1 for _ in _failed(connection, stretch))


def count_answers(connection: Connection, stretch: Stretch) -> int:
    """Return the number of answers of a stretch."""
    return int(connection.scalar(select(func.count()).select_from(schema.answers).where(*_meant(stretch))) or 0)


def counts_by_hour(connection: Connection, stretch: Stretch) -> list[tuple[float, int]]:
    """Return the beginning of each hour of a stretch, in seconds since 1970, and the number of answers to its vertical, of any model.

    The first and the last hour are those with answers. It takes about 0.1 s for a million answers.
    """
    answers = schema.answers.c
    counted = []
    for hour in range(int(time_of(stretch.first) // HOUR), int(-(-time_of(stretch.end) // HOUR))):
        ends = max(stretch.first, first_id_at(hour * HOUR)), min(stretch.end, first_id_at((hour + 1) * HOUR))
        meant = (answers.vertical == stretch.vertical, answers.request >= ends[0], answers.request < ends[1])
        counted.append((hour * HOUR, int(connection.scalar(select(func.count()).select_from(schema.answers).where(*meant)) or 0)))
    busy = [place for place, (_, count) in enumerate(counted) if count]
    return counted[busy[0] : busy[-1] + 1] if busy else []


def labelled_rows(connection: Connection, stretch: Stretch, number: int) -> list[Row]:
    """Return the last answers of a stretch on which there is feedback, at most `number`, oldest first."""
    table = schema.feedback.c
    meant = [table.vertical == stretch.vertical, table.request >= stretch.first, table.request < stretch.end]
    meant += [] if stretch.model is None else [table.model == stretch.model]
    said = select(table.request, table.number).where(*meant).order_by(table.id.desc()).limit(number)
    keys = sorted({(row.request, row.number) for row in connection.execute(said)})
    answers = schema.answers.c
    rows: list[Row] = []
    for start in range(0, len(keys), _PAGE):
        part = keys[start : start + _PAGE]
        rows += _answered(connection, select(schema.answers).where(tuple_(answers.request, answers.number).in_(part)))
    return with_feedback(connection, stretch.vertical, rows)


def with_feedback(connection: Connection, vertical: str, rows: Sequence[Row]) -> list[Row]:
    """Return rows with the last verdict and the last right answer that users gave for each."""
    if not rows:
        return []
    table = schema.feedback.c
    ends = min(row.request for row in rows), max(row.request for row in rows)
    meant = and_(table.vertical == vertical, table.request >= ends[0], table.request <= ends[1])
    listed = connection.execute(select(table.request, table.number, table.verdict, table.target).where(meant).order_by(table.id))
    said: dict[tuple[str, int], dict[str, Any]] = {}
    for request, number, verdict, target in listed:
        known = said.setdefault((request, number), {})
        known |= {} if verdict is None else {"verdict": verdict}
        known |= {} if target is None else {"target": orjson.loads(target)}
    return [replace(row, **said.get((row.request, row.number), {})) for row in rows]


def _in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.request, row.number))


def _meant(stretch: Stretch) -> list[Any]:
    answers = schema.answers.c
    meant = [answers.vertical == stretch.vertical, answers.request >= stretch.first, answers.request < stretch.end]
    return meant if stretch.model is None else [*meant, answers.model == stretch.model]


def _answered(connection: Connection, found: Any) -> list[Row]:
    """Return the rows of a statement on answers with the times that their requests took, oldest first."""
    part = found.subquery()  # limited before the join, because PostgreSQL would otherwise read all requests
    joined = select(part, schema.requests.c.seconds).join(schema.requests, schema.requests.c.id == part.c.request)
    rows = connection.execute(joined.order_by(part.c.request, part.c.number))
    return [
        Row(
            row.request, row.number, time_of(row.request), row.seconds, confidence=row.confidence,
            record=None if row.record is None else orjson.loads(row.record), answer=orjson.loads(row.answer),
        )
        for row in rows
    ]  # fmt: skip


def _failed(connection: Connection, stretch: Stretch) -> Iterable[Row]:
    """Return the requests to a vertical that failed although their sender did nothing wrong."""
    table = schema.requests.c
    meant = [table.id >= stretch.first, table.id < stretch.end, table.status >= 500]
    meant.append(table.failed.contains(failed_verticals([stretch.vertical]), autoescape=True))
    for row in connection.execute(select(table.id, table.seconds).where(*meant).order_by(table.id)):
        yield Row(row.id, 0, time_of(row.id), row.seconds, None, answer=None, confidence=None)
