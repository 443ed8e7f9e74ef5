"""What monitors measured of verticals, as series over time: rows as they are added and found; knows nothing of what a monitor does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, RowMapping, delete, func, select, update

from vertune.store import schema
from vertune.store.database import insert

Verdict = Literal["quiet", "changed", "unknown"]
Origin = Literal["look", "pause", "report"]
"""What looked: the schedule at a window of requests, the schedule at a time with hardly any request, or a person who wanted a report."""
MOST = 1000
"""Largest number of measurements of one monitor that are read at a time."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one monitor found in one window of requests; times are in UTC, as texts."""

    vertical: str
    monitor: str
    at: str
    """When the window begins."""
    window_end: str
    value: float | None
    low: float | None
    high: float | None
    """The ends of the 95 % interval of the value."""
    p: float | None
    """The probability of such a value if nothing changed; None for a monitor that watches the stream by itself."""
    n: int
    """Number of requests that were compared."""
    verdict: Verdict
    why: str
    evidence: list[dict[str, Any]]
    origin: Origin = "look"


def add(connection: Connection, found: Sequence[Measurement]) -> None:
    """Add measurements; one of the same window replaces the earlier one, so that a run can be repeated.

    That of a report replaces none of the schedule.
    """
    table = schema.measurements
    for one in found:
        row = {**asdict(one), "evidence": orjson.dumps(one.evidence, default=str).decode()}
        key, replaced = [table.c.vertical, table.c.monitor, table.c.at], table.c.origin == "report" if one.origin == "report" else None
        connection.execute(insert(connection, table).values(row).on_conflict_do_update(index_elements=key, set_=row, where=replaced))


def latest(connection: Connection, vertical: str, number: int = 1, scheduled: bool = False) -> dict[str, list[Measurement]]:
    """Return the last measurements of each monitor of a vertical, newest first, at most `number` of each.

    With `scheduled`, those of reports are left out.
    """
    table = schema.measurements
    place = func.row_number().over(partition_by=table.c.monitor, order_by=table.c.at.desc()).label("place")
    last = select(table, place).where(table.c.vertical == vertical, *_scheduled(scheduled)).subquery()
    rows = connection.execute(select(last).where(last.c.place <= number).order_by(last.c.monitor, last.c.place)).mappings()
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        found.setdefault(row["monitor"], []).append(_measurement(row))
    return found


def last_end(connection: Connection, vertical: str) -> str | None:
    """Return when the last window of requests ended that was looked at by schedule; None if none was."""
    table = schema.measurements.c
    end: str | None = connection.scalar(select(func.max(table.window_end)).where(table.vertical == vertical, table.origin == "look"))
    return end


def tested(connection: Connection, since: str) -> dict[str, tuple[int, int]]:
    """Return by vertical how many windows ended at a time or later in which something was tested, and how many monitors did so.

    Windows of reports do not count.
    """
    table = schema.measurements.c
    counts = func.count(table.window_end.distinct()), func.count(table.monitor.distinct())
    rows = connection.execute(
        select(table.vertical, *counts).where(table.window_end >= since, table.p.is_not(None), *_scheduled(True)).group_by(table.vertical)
    )
    return {vertical: (windows, names) for vertical, windows, names in rows}


def series(
    connection: Connection, vertical: str, monitor: str, since: str, limit: int = MOST, scheduled: bool = False
) -> list[Measurement]:  # fmt: skip
    """Return the measurements of a monitor whose windows ended at a time or later, oldest first; the newest `limit` if there are more.

    With `scheduled`, those of reports are left out.
    """
    table = schema.measurements
    meant = [table.c.vertical == vertical, table.c.monitor == monitor, table.c.window_end >= since, *_scheduled(scheduled)]
    rows = connection.execute(select(table).where(*meant).order_by(table.c.at.desc()).limit(limit)).mappings().all()
    return [_measurement(row) for row in reversed(rows)]


def monitors(connection: Connection, vertical: str) -> list[str]:
    """Return the names of the monitors that measured a vertical, in order."""
    table = schema.measurements.c
    return list(connection.scalars(select(table.monitor).where(table.vertical == vertical).distinct().order_by(table.monitor)))


def verticals(connection: Connection) -> list[str]:
    """Return the names of the verticals that were measured, in order."""
    table = schema.measurements.c
    return list(connection.scalars(select(table.vertical).distinct().order_by(table.vertical)))


def remove(connection: Connection, vertical: str | None, before: str | None) -> int:
    """Delete measurements of a vertical, or of all with None, whose windows ended before a time, if there is one; return their number."""
    table = schema.measurements.c
    meant = [] if vertical is None else [table.vertical == vertical]
    meant += [] if before is None else [table.window_end < before]
    return int(connection.execute(delete(schema.measurements).where(*meant)).rowcount)


def forget_evidence(connection: Connection, vertical: str | None) -> None:
    """Empty the evidence of all measurements of a vertical, or of all verticals with None: it may quote a text that was deleted."""
    table = schema.measurements.c
    quoting = [table.evidence != "[]", *([] if vertical is None else [table.vertical == vertical])]
    connection.execute(update(schema.measurements).where(*quoting).values(evidence="[]"))


def _scheduled(only: bool) -> list[Any]:
    """Return the condition that a measurement is none of a report, if only such ones are meant."""
    return [schema.measurements.c.origin != "report"] if only else []


def _measurement(row: RowMapping) -> Measurement:
    about = {name: row[name] for name in Measurement.__dataclass_fields__}
    return Measurement(**{**about, "evidence": orjson.loads(row["evidence"])})
