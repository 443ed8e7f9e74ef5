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

Stage = Literal["assemble", "train", "gate", "shadow", "canary", "done", "refused", "failed"]
ENDED: tuple[Stage, ...] = ("done", "refused", "failed")
"""The stages after which nothing more happens."""


@dataclass(frozen=True, slots=True)
class Retraining:
    """One training of a vertical on what it learnt since; times are in UTC, as texts."""

    id: str
    vertical: str
    at: str
    stage: Stage
    request: dict[str, Any]
    """Why it began, and with what."""
    job: str | None
    """The id of the job that does the present stage, or did the last one."""
    dataset: str | None
    model: str | None
    report: str | None
    """The ids of what it made."""
    why: str | None
    """Why it ended."""
    changed: str


def begin(connection: Connection, vertical: str, request: dict[str, Any]) -> Retraining | None:
    """Add a retraining of a vertical, and return it; None if one of the vertical has not ended.

    Call it in a transaction that only one process can be in at a time, such as one that checks a lease.
    """
    if unfinished(connection, vertical):
        return None
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


def move(connection: Connection, retraining: Retraining, stage: Stage, **about: str | None) -> bool:
    """Move a retraining on, and return whether it was still in its stage; `about` are `job`, `dataset`, `model`, `report` and `why`."""
    table = schema.retrainings.c
    same = (table.id == retraining.id) & (table.stage == retraining.stage)
    values = {"stage": stage, "changed": format_time(datetime.now(UTC)), **about}
    return bool(connection.execute(update(schema.retrainings).where(same).values(values)).rowcount)


def remove(connection: Connection, vertical: str) -> int:
    """Delete the retrainings of a vertical that have ended, and return their number."""
    table = schema.retrainings.c
    gone = delete(schema.retrainings).where(table.vertical == vertical, table.stage.in_(ENDED))
    return int(connection.execute(gone).rowcount)


def _retraining(row: RowMapping) -> Retraining:
    about = {name: row[name] for name in Retraining.__dataclass_fields__}
    return Retraining(**{**about, "request": orjson.loads(row["request"])})
