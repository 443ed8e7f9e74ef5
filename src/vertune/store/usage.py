"""What customers used: sums over days, customers, keys and verticals; knows nothing of prices and HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

from sqlalchemy import Connection, RowMapping, func, select

from vertune.store import schema

Column = Literal["day", "customer", "key", "vertical"]
_COUNTS = ("requests", "records", "tokens", "cached_tokens")


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
    return [_of_row(row, by) for row in rows.mappings()]


def _of_row(row: RowMapping, by: Sequence[Column]) -> Usage:
    names = {name: str(row[name]) if name in by else "" for name in get_args(Column)}
    counts = {name: int(row[name]) for name in _COUNTS}
    return Usage(**names, **counts)  # type: ignore[arg-type]
