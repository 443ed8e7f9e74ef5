"""Retrainings of verticals, and how far each has come: rows as they are added, found and moved on; knows nothing of what a stage does.

A retraining goes from stage to stage in transactions, so that a server that dies, or a second one, goes on with the stage that it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, RowMapping, delete, select, update

from vertune.core.errors import NotFound
from vertune.core.ids import time_ordered_id
from vertune.store import schema
from vertune.store.database import format_time

Stage = Literal["assemble", "train", "waiting", "gate", "shadow", "canary", "done", "refused", "failed"]
ENDED: tuple[Stage, ...] = ("done", "refused", "failed")
"""The stages after which nothing more happens."""
WAITING: Stage = "waiting"
"""The stage of a candidate of which the gate can't tell; it ends when enough labels have come, or when a newer training begins."""


@dataclass(frozen=True, slots=True)
class Retraining:
    """One training of a vertical on what it learnt since; times are in UTC, as texts."""

    id: str
    vertical: str
    at: str
    stage: Stage
    request: dict[str, Any]
    """Why it began, with what, and in `wait` for how many labels since when it waits."""
    job: str | None
    """The id of the job that does the present stage, or did the last one."""
    dataset: str | None
    model: str | None
    report: str | None
    """The ids of what it made."""
    why: str | None
    """Why it ended."""
    changed: str


def begin(connection: Connection, vertical: str, request: dict[str, Any], replaced: str = "") -> Retraining | None:
    """Add a retraining of a vertical, and return it; None if one of the vertical has not ended.

    One that only waits for labels is ended as refused, with the reason `replaced`. Two processes that begin one at the same time both may,
    so call it in a transaction that only one can be in at a time, such as one that checks a lease.
    """
    earlier = unfinished(connection, vertical)
    if any(one.stage != WAITING for one in earlier):
        return None
    for one in earlier:
        move(connection, one, "refused", why=replaced or None)
    now = format_time(datetime.now(UTC))
    row = {
        "id": time_ordered_id(), "vertical": vertical, "at": now, "stage": "assemble", "changed": now,
        "request": orjson.dumps(request, default=str).decode(),
    }  # fmt: skip
    connection.execute(schema.retrainings.insert().values(row))
    return get(connection, row["id"])


def unfinished(connection: Connection, vertical: str | None = None) -> list[Retraining]:
    """Return the retrainings of a vertical, or of all with None, that have not ended, oldest first."""
    table = schema.retrainings.c
    meant = [table.stage.not_in(ENDED), *([] if vertical is None else [table.vertical == vertical])]
    return [_retraining(row) for row in connection.execute(select(schema.retrainings).where(*meant).order_by(table.id)).mappings()]


def find(connection: Connection, verticals: Sequence[str] | None, limit: int, before: str | None = None) -> list[Retraining]:
    """Return retrainings of some verticals, or of all with None, newest first, at most `limit`; only older ones than the id `before`."""
    table = schema.retrainings.c
    meant = [*([] if verticals is None else [table.vertical.in_(verticals)]), *([] if before is None else [table.id < before])]
    rows = connection.execute(select(schema.retrainings).where(*meant).order_by(table.id.desc()).limit(limit)).mappings()
    return [_retraining(row) for row in rows]


def get(connection: Connection, id: str) -> Retraining:
    """Return a retraining; raise NotFound if there is none with this id."""
    row = connection.execute(select(schema.retrainings).where(schema.retrainings.c.id == id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no retraining with the id '{id[:80]}'. List them with GET /v1/retrainings.")
    return _retraining(row)


def move(
    connection: Connection, retraining: Retraining, stage: Stage, request: dict[str, Any] | None = None, **about: str | None
) -> bool:  # fmt: skip
    """Move a retraining on, and return whether it was still in its stage; `about` are `job`, `dataset`, `model`, `report` and `why`."""
    table = schema.retrainings.c
    same = (table.id == retraining.id) & (table.stage == retraining.stage)
    values = {"stage": stage, "changed": format_time(datetime.now(UTC)), **about}
    values |= {} if request is None else {"request": orjson.dumps(request, default=str).decode()}
    return bool(connection.execute(update(schema.retrainings).where(same).values(values)).rowcount)


def remove(connection: Connection, vertical: str) -> int:
    """Delete the retrainings of a vertical that have ended, with the messages about them, and return their number."""
    table = schema.retrainings.c
    meant = [table.vertical == vertical, table.stage.in_(ENDED)]
    connection.execute(delete(schema.deliveries).where(schema.deliveries.c.alert.in_(select(table.id).where(*meant))))
    return int(connection.execute(delete(schema.retrainings).where(*meant)).rowcount)


def _retraining(row: RowMapping) -> Retraining:
    about = {name: row[name] for name in Retraining.__dataclass_fields__}
    return Retraining(**{**about, "request": orjson.loads(row["request"])})
