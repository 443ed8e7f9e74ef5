"""What customers used: sums over days, customers, keys and verticals; knows nothing of prices and HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Row, func, or_, select

from vertune.store import schema
from vertune.store.database import format_time, insert
from vertune.store.key import DEFAULT_CUSTOMER

Column = Literal["day", "customer", "key", "vertical"]
_COUNTS = ("requests", "records", "tokens", "cached_tokens", "jobs")


@dataclass(frozen=True, slots=True)
class Usage:
    """A sum of usage; what it was not divided by is empty."""

    day: str
    customer: str
    key: str
    vertical: str
    requests: int
    """Number of answered requests; a request for several verticals counts for each."""
    records: int
    tokens: int
    """Number of tokens, as if nothing were cached."""
    cached_tokens: int
    """How many of these were not computed, because the answers were cached."""
    jobs: int = 0
    """Number of jobs that were started."""


@dataclass(frozen=True, slots=True)
class Period:
    """Which usage is meant: of one customer, or of all with None, from the day `since` to the day before `until`."""

    customer: str | None = None
    since: date | None = None
    until: date | None = None


def used(connection: Connection, wanted: Period, by: Sequence[Column]) -> list[Usage]:
    """Return the usage divided by these columns, in their order."""
    table = schema.usage.c
    conditions = [] if wanted.customer is None else [table.customer == wanted.customer]
    if wanted.since is not None:
        conditions.append(table.day >= wanted.since.isoformat())
    if wanted.until is not None:
        conditions.append(table.day < wanted.until.isoformat())
    divided = [table[name] for name in by]
    sums = [func.coalesce(func.sum(table[name]), 0).label(name) for name in _COUNTS]
    rows = connection.execute(select(*divided, *sums).where(*conditions).group_by(*divided).order_by(*divided))
    nothing = dict.fromkeys(get_args(Column), "")
    return [_of_row(row, by, nothing) for row in rows]


def able_to_use(connection: Connection, wanted: Period) -> set[str]:
    """Return the customers that had a key or a user at some time of a period, whether they used the server or not.

    Keys and users of administrators do not count: they are the operator's. A period that has not begun has none.
    """
    if wanted.since is not None and wanted.since > datetime.now(UTC).date():
        return set()
    keys, users = schema.keys.c, schema.users.c
    made = [] if wanted.customer is None else [keys.customer == wanted.customer]
    joined = [users.role != "admin"] if wanted.customer is None else [users.role != "admin", users.customer == wanted.customer]
    if wanted.until is not None:
        made.append(keys.created < _midnight(wanted.until))
        joined.append(users.at < _midnight(wanted.until))
    if wanted.since is not None:
        made += [or_(end.is_(None), end >= _midnight(wanted.since)) for end in (keys.revoked, keys.expires)]
    rows = connection.execute(select(keys.customer, keys.scopes).where(*made))
    found = {row.customer or DEFAULT_CUSTOMER for row in rows if "admin" not in row.scopes.split()}
    return found | set(connection.scalars(select(users.customer).where(*joined)))


def _midnight(day: date) -> str:
    return format_time(datetime.combine(day, time.min, UTC))


def add_job(connection: Connection, customer: str, key: str | None, vertical: str) -> None:
    """Count a job that a customer starts today, in the transaction in which it is put into the queue."""
    table = schema.usage
    nothing = dict.fromkeys(_COUNTS, 0)
    row = {"day": datetime.now(UTC).date().isoformat(), "customer": customer, "key": key or "", "vertical": vertical, **nothing, "jobs": 1}
    statement = insert(connection, table).values(row)
    more = {"jobs": table.c.jobs + 1}
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=more))


def _of_row(row: Row[Any], by: Sequence[Column], nothing: dict[str, str]) -> Usage:
    counts = map(int, row[len(by) :])  # PostgreSQL adds up to decimals
    values: dict[str, Any] = {**nothing, **dict(zip(by, row, strict=False)), **dict(zip(_COUNTS, counts, strict=True))}
    return Usage(**values)
