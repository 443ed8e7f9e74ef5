"""Actions of the operator that apps ask for: rows as they are added, taken and finished; knows nothing of how an action is called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, Row, select, update

from vertune.store import schema
from vertune.store.database import format_time

State = Literal["waiting", "done", "failed", "dropped"]
"""`dropped`: the conversation was closed before there was a result."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=5)
"""The pause after the first failed attempt, which doubles with each further one, and the longest one."""


@dataclass(frozen=True, slots=True)
class Call:
    """An action that a turn asks for. The conversation and the number of the turn are its idempotency key."""

    conversation: str
    number: int
    name: str
    arguments: dict[str, Any]
    attempts: int = 0
    next: str = ""
    """When it is tried next, in UTC."""

    @property
    def id(self) -> str:
        """The key by which the receiver recognises a repeated call."""
        return f"{self.conversation}-{self.number}"


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of an action, which the app has answered."""

    conversation: str
    number: int
    state: State
    result: dict[str, Any]
    arguments: dict[str, Any]
    """What is kept of the arguments."""


def as_json(value: Any) -> str:
    """Return a value as JSON; whole numbers of more than 64 bits, which a visitor may write, are read again as floating-point numbers."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value)


def add(connection: Connection, call: Call) -> None:
    """Add an action that is due at once, in the transaction of the turn that asks for it."""
    row = {
        "conversation": call.conversation, "number": call.number, "name": call.name, "arguments": as_json(call.arguments),
        "state": "waiting", "attempts": 0, "next": format_time(datetime.now(UTC)), "result": None,
    }  # fmt: skip
    connection.execute(schema.actions.insert().values(row))


def due(connection: Connection, limit: int = 100) -> list[Call]:
    """Return the actions that are to be called now, the one that waits longest first."""
    table = schema.actions.c
    ready = select(schema.actions).where(table.state == "waiting", table.next <= format_time(datetime.now(UTC)))
    return [_call(row) for row in connection.execute(ready.order_by(table.next).limit(limit))]


def take(connection: Connection, call: Call, seconds: float) -> bool:
    """Reserve an action for some seconds, in which no other server calls it; return whether it was to be had.

    A server that dies meanwhile leaves it to the next one, which calls the action again with the same id.
    """
    table = schema.actions.c
    same = [table.conversation == call.conversation, table.number == call.number, table.state == "waiting", table.next == call.next]
    until = format_time(datetime.now(UTC) + timedelta(seconds=seconds))
    taken = update(schema.actions).where(*same).values(next=until, attempts=table.attempts + 1)
    return bool(connection.execute(taken).rowcount)


def retry(connection: Connection, call: Call) -> None:
    """Let an action be tried again after a pause that grows with its attempts."""
    table = schema.actions.c
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(call.attempts, 20))
    mine = [table.conversation == call.conversation, table.number == call.number, table.state == "waiting"]
    connection.execute(update(schema.actions).where(*mine).values(next=format_time(datetime.now(UTC) + pause)))


def finish(connection: Connection, finished: Finished) -> None:
    """Note the result of an action, in the transaction of the turn that answers it."""
    table = schema.actions.c
    mine = [table.conversation == finished.conversation, table.number == finished.number]
    texts = {"result": as_json(finished.result), "arguments": as_json(finished.arguments)}
    connection.execute(update(schema.actions).where(*mine).values(state=finished.state, **texts))


def end(connection: Connection, conversation: str) -> None:
    """Drop the actions of a conversation that have no result."""
    table = schema.actions.c
    waiting = update(schema.actions).where(table.conversation == conversation, table.state == "waiting")
    connection.execute(waiting.values(state="dropped", arguments="{}"))


def pending(connection: Connection, conversation: str) -> bool:
    """Return whether an action of a conversation has no result yet."""
    table = schema.actions.c
    found = select(table.number).where(table.conversation == conversation, table.state == "waiting").limit(1)
    return connection.scalar(found) is not None


def _call(row: Row[Any]) -> Call:
    arguments = orjson.loads(row.arguments)
    return Call(row.conversation, row.number, row.name, arguments, attempts=row.attempts, next=row.next)
