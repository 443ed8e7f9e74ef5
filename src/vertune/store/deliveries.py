"""Messages about alerts and retrainings on their way to channels: rows as they are added, taken and finished; knows no channel."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, Row, func, select, update

from vertune.core.ids import time_ordered_id
from vertune.core.sentence import stored
from vertune.store import schema
from vertune.store.database import format_time, insert

State = Literal["waiting", "sent", "failed"]
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(hours=1)
"""The pause after the first failed attempt, which doubles with each further one, and the longest one."""
ATTEMPTS = 20
"""Number of attempts before a message is given up: about nine hours."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one channel."""

    id: str
    """The receiver knows by it that a message was sent before, after a process died between sending and noting it."""
    alert: str
    """The id of the alert, or of the retraining."""
    number: int
    channel: str
    payload: dict[str, Any]
    state: State
    attempts: int
    next: str
    error: str | None


def add(connection: Connection, alert: str, number: int, channels: Sequence[str], payload: dict[str, Any]) -> None:
    """Add the message with this number about an alert for each of the channels; one that is there already stays as it is."""
    rows = [
        {
            "alert": alert, "number": number, "channel": channel, "id": time_ordered_id(), "payload": orjson.dumps(payload).decode(),
            "state": "waiting", "attempts": 0, "next": format_time(datetime.now(UTC)), "error": None,
        }
        for channel in channels
    ]  # fmt: skip
    if rows:
        connection.execute(insert(connection, schema.deliveries).values(rows).on_conflict_do_nothing())


def add_next(connection: Connection, about: str, channels: Sequence[str], payload: dict[str, Any]) -> None:
    """Add one more message about an alert or a retraining, after those that there are."""
    table = schema.deliveries.c
    last = connection.execute(select(func.max(table.number)).where(table.alert == about)).scalar()
    add(connection, about, (last or 0) + 1, channels, payload)


def due(connection: Connection, channels: Collection[str], limit: int = 100) -> list[Delivery]:
    """Return messages for these channels that are to be sent now, oldest first; a message waits for the earlier ones about its alert."""
    table, now = schema.deliveries.c, format_time(datetime.now(UTC))
    waiting = select(schema.deliveries).where(table.state == "waiting", table.channel.in_(channels)).order_by(table.id)
    first: dict[tuple[str, str], Delivery] = {}
    for row in connection.execute(waiting):
        first.setdefault((row.alert, row.channel), _delivery(row))
    return [one for one in first.values() if one.next <= now][:limit]


def is_waiting(connection: Connection, id: str) -> bool:
    """Return whether a message still waits to be sent."""
    table = schema.deliveries.c
    return connection.execute(select(table.id).where(table.id == id, table.state == "waiting")).first() is not None


def waiting(connection: Connection) -> int:
    """Return the number of messages that wait to be sent."""
    return len(connection.execute(select(schema.deliveries.c.id).where(schema.deliveries.c.state == "waiting")).all())


def without_evidence(connection: Connection) -> dict[str, str]:
    """Return the payloads of messages that wait, by their ids, as JSON without anything that may quote a text of a user."""
    table = schema.deliveries.c
    rows = connection.execute(select(table.id, table.payload).where(table.state == "waiting"))
    payloads = {row.id: orjson.loads(row.payload) for row in rows}
    return {id: orjson.dumps({**payload, "text": f"{payload['subject']}\n", "evidence": []}).decode() for id, payload in payloads.items()}


def sent(connection: Connection, id: str) -> None:
    """Note that a message was sent."""
    table = schema.deliveries.c
    connection.execute(update(schema.deliveries).where(table.id == id).values(state="sent", attempts=table.attempts + 1, error=None))


def failed(connection: Connection, delivery: Delivery, error: str, final: bool = False) -> None:
    """Note that a message could not be sent, and when it is tried again; a `final` error, or one too many, gives it up."""
    table, attempts = schema.deliveries.c, delivery.attempts + 1
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 20))
    state: State = "failed" if final or attempts >= ATTEMPTS else "waiting"
    values = {"state": state, "attempts": attempts, "next": format_time(datetime.now(UTC) + pause), "error": stored(error)}
    connection.execute(update(schema.deliveries).where(table.id == delivery.id).values(values))


def of_alert(connection: Connection, alert: str) -> list[Delivery]:
    """Return the messages about an alert or a retraining, oldest first."""
    table = schema.deliveries.c
    return [_delivery(row) for row in connection.execute(select(schema.deliveries).where(table.alert == alert).order_by(table.id))]


def _delivery(row: Row[Any]) -> Delivery:
    about = {name: row._mapping[name] for name in Delivery.__dataclass_fields__}
    return Delivery(**{**about, "payload": orjson.loads(row.payload)})
