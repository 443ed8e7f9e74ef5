"""Deletes requests and measurements that are older than they may be, or requests that take too much space; knows nothing of models."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, LargeBinary, Table, cast, delete, func, literal, literal_column, select, text

from vertune.core.ids import first_id_at
from vertune.store import alerts, measurements, schema
from vertune.store.database import Database, format_time

_STEP = 2000
"""Maximum number of requests that one transaction deletes, so that other writers wait for a short time."""
_CHECK_INTERVAL = 10.0
"""Seconds until it is checked again whether there is something to delete; meanwhile, a busy server adds some megabytes."""
_FILLED = 0.9
"""Share of the largest size from which requests are deleted, so that what arrives until the next check does not exceed it."""
_KEPT = 0.5
"""Share of the largest size that requests keep, whatever else the database contains: nothing that is never deleted pushes them out."""
_FREED_PAGES = 1000
"""Maximum number of pages of SQLite that one step gives back to the disk."""
_SAMPLE = 1000
"""Number of rows by which the size of all is estimated."""
_DAY = 24 * 60 * 60


@dataclass(slots=True)
class Retention:
    """Keeps the stored requests and answers below an age and a size; feedback stays until somebody deletes it.

    Measurements and alerts may quote requests, so they are kept no longer, but for alerts whose reason lasts.
    """

    database: Database
    days: float
    """Requests, measurements and alerts that are older are deleted."""
    megabytes: float
    """The largest size; as soon as nine tenths of it are taken, the oldest requests are deleted, but for those in half of it."""
    _next: float = field(default=0.0, init=False)
    """The monotonic time of the next check."""

    def step(self) -> bool:
        """Delete some requests if it is time to, and return whether there may be more to delete."""
        if time.monotonic() < self._next:
            return False
        with self.database.writing() as connection:
            deleted = self._delete(connection)
            if deleted < _STEP:
                before = format_time(datetime.now(UTC) - timedelta(days=self.days))
                measurements.remove(connection, None, before)
                alerts.remove(connection, None, before, unsolved_too=False)
        if deleted < _STEP:
            self._next = time.monotonic() + _CHECK_INTERVAL
        return deleted == _STEP

    def _delete(self, connection: Connection) -> int:
        """Delete at most `_STEP` of the requests that must go, and return how many were."""
        oldest = list(connection.scalars(select(schema.requests.c.id).order_by(schema.requests.c.id).limit(_STEP)))
        limit = _FILLED * self.megabytes * 1e6
        if size(connection) <= limit or size_of_requests(connection) <= _KEPT * limit:
            first = first_id_at(time.time() - self.days * _DAY)
            oldest = [id for id in oldest if id < first]
        if oldest:
            connection.execute(delete(schema.answers).where(schema.answers.c.request <= oldest[-1]))
            connection.execute(delete(schema.requests).where(schema.requests.c.id <= oldest[-1]))
            if connection.dialect.name == "sqlite":
                free = int(connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0)
                for _ in range(min(free, _FREED_PAGES)):  # Python stops the statement after its first page
                    connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        return len(oldest)


def size(connection: Connection) -> int:
    """Return about how much space the rows of the database take, in bytes, without what is free in it.

    PostgreSQL gives back no space to the disk after a deletion, so there it is estimated from the number and the size of rows.
    """
    if connection.dialect.name == "postgresql":
        return size_of_requests(connection) + _rows_size(connection, schema.feedback)
    pages, free, bytes_per_page = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * bytes_per_page


def size_of_requests(connection: Connection) -> int:
    """Return about how much space requests and answers take, in bytes."""
    return _rows_size(connection, schema.requests) + _rows_size(connection, schema.answers)


def _rows_size(connection: Connection, table: Table) -> int:
    """Return about how much space the rows of a table take, in bytes: as much again for the indexes as for the rows.

    Their number is estimated, because counting millions of rows takes seconds.
    """
    if connection.dialect.name == "postgresql":
        last = select(table).order_by(*(column.desc() for column in table.primary_key.columns)).limit(_SAMPLE).subquery("last")
        mean = connection.scalar(select(func.avg(func.pg_column_size(text("last.*")))).select_from(last)) or 0
        rows = connection.scalar(text("SELECT n_live_tup FROM pg_stat_user_tables WHERE relname = :name"), {"name": table.name}) or 0
        return 2 * int(mean * rows)
    order: ColumnElement[int] = literal_column("rowid")  # rows are added at the end, and most are deleted from the beginning
    rows = connection.scalar(select(func.max(order) - func.min(order) + 1).select_from(table)) or 0
    bytes = sum((func.coalesce(func.length(cast(column, LargeBinary)), 0) for column in table.c), literal(0))
    sizes = select(bytes.label("bytes")).select_from(table).order_by(order.desc()).limit(_SAMPLE).subquery()
    return 2 * int((connection.scalar(select(func.avg(sizes.c.bytes))) or 0) * rows)
