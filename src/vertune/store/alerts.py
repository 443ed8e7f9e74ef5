"""Alerts, silences, and what rules remember: rows as they are added, found and changed; knows nothing of when a rule raises an alert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, RowMapping, delete, func, or_, select, update

from vertune.core.errors import Conflict, NotFound
from vertune.core.ids import time_ordered_id
from vertune.store import schema
from vertune.store.database import format_time, insert

Severity = Literal["info", "warning", "critical"]
State = Literal["open", "acknowledged", "resolved", "false"]
UNSOLVED: tuple[State, ...] = ("open", "acknowledged")
"""The states of alerts whose reason lasts."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What people are told about a vertical; times are in UTC, as texts."""

    id: str
    vertical: str
    rule: str
    monitor: str
    """The monitor that found most, of those of the rule."""
    severity: Severity
    state: State
    began: str
    """When the window begins in which the change was seen first."""
    changed: str
    ended: str | None
    value: float | None
    why: str
    evidence: list[dict[str, Any]]
    actor: str | None = None
    """Who changed the state last; None if no person did."""
    comment: str | None = None
    messages: int = 0
    """How often channels were to tell of it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alerts are meant; None does not restrict them."""

    verticals: Sequence[str] | None = None
    states: Sequence[State] | None = None
    before: str | None = None
    """Only alerts with smaller ids, which are older ones."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which nobody is told of alerts."""

    vertical: str | None
    """None stands for all verticals."""
    rule: str | None
    """None stands for all rules."""
    until: str
    actor: str
    reason: str
    id: str = field(default_factory=time_ordered_id)

    def covers(self, vertical: str, rule: str, now: str) -> bool:
        """Return whether nobody is told of the alerts of this rule at a time."""
        return self.vertical in (None, vertical) and self.rule in (None, rule) and now < self.until


@dataclass(frozen=True, slots=True)
class Memory:
    """What a rule remembers of a vertical."""

    weight: float = 1.0
    """How much the rule is believed, from 0 to 1: people who call its alerts false lower it."""
    state: dict[str, Any] = field(default_factory=dict)


def add(connection: Connection, alert: Alert) -> None:
    """Add an alert, or replace the one with its id."""
    row = {**asdict(alert), "evidence": orjson.dumps(alert.evidence, default=str).decode()}
    connection.execute(insert(connection, schema.alerts).values(row).on_conflict_do_update(index_elements=[schema.alerts.c.id], set_=row))


def find(connection: Connection, wanted: Filter, limit: int) -> list[Alert]:
    """Return alerts, newest first, at most `limit`."""
    table = schema.alerts.c
    meant = [
        *([] if wanted.verticals is None else [table.vertical.in_(wanted.verticals)]),
        *([] if wanted.states is None else [table.state.in_(wanted.states)]),
        *([] if wanted.before is None else [table.id < wanted.before]),
    ]
    rows = connection.execute(select(schema.alerts).where(*meant).order_by(table.id.desc()).limit(limit)).mappings()
    return [_alert(row) for row in rows]


def get(connection: Connection, id: str) -> Alert:
    """Return an alert; raise NotFound if there is none with this id."""
    row = connection.execute(select(schema.alerts).where(schema.alerts.c.id == id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no alert with the id '{id[:80]}'. List the alerts with GET /v1/alerts.")
    return _alert(row)


def unsolved(connection: Connection, vertical: str) -> dict[str, Alert]:
    """Return the alerts of a vertical whose reason lasts, by the names of their rules."""
    found = find(connection, Filter(verticals=[vertical], states=UNSOLVED), 1000)
    return {one.rule: one for one in reversed(found)}


def unheard(connection: Connection) -> set[str]:
    """Return the verticals with an open alert of which nobody was told, because of a silence or a crash."""
    table = schema.alerts.c
    return set(connection.scalars(select(table.vertical).where(table.state == "open", table.messages == 0)))


def lasting(connection: Connection) -> set[str]:
    """Return the verticals with an alert whose reason lasts."""
    table = schema.alerts.c
    return set(connection.scalars(select(table.vertical).where(table.state.in_(UNSOLVED)).distinct()))


def count_open(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the numbers of open alerts, by vertical and severity."""
    table = schema.alerts.c
    rows = select(table.vertical, table.severity, func.count()).where(table.state == "open").group_by(table.vertical, table.severity)
    return {(vertical, severity): count for vertical, severity, count in connection.execute(rows)}


def decide(connection: Connection, alert: Alert, state: Literal["acknowledged", "false"], actor: str, comment: str) -> None:
    """Let a person acknowledge an alert or call it false; raise Conflict if it is resolved already, or was called false."""
    table, now = schema.alerts.c, format_time(datetime.now(UTC))
    allowed: tuple[State, ...] = ("open",) if state == "acknowledged" else ("open", "acknowledged", "resolved")
    values = {"state": state, "actor": actor, "comment": comment or None, "changed": now}
    if state == "false":
        values["ended"] = alert.ended or now
    changed = connection.execute(update(schema.alerts).where(table.id == alert.id, table.state.in_(allowed)).values(values))
    if not changed.rowcount:
        current = get(connection, alert.id).state
        raise Conflict(f"The alert '{alert.id}' is {current} already; expected one that is {' or '.join(allowed)}. Choose another alert.")


# ── Silences ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def add_silence(connection: Connection, silence: Silence) -> None:
    """Add a silence."""
    connection.execute(schema.silences.insert().values(asdict(silence)))


def silences(connection: Connection, verticals: Sequence[str] | None = None) -> list[Silence]:
    """Return the silences that have not ended, newest first: those of these verticals and of all, or every one with None."""
    table = schema.silences.c
    meant = [table.until > format_time(datetime.now(UTC))]
    meant += [] if verticals is None else [or_(table.vertical.is_(None), table.vertical.in_(verticals))]
    rows = connection.execute(select(schema.silences).where(*meant).order_by(table.id.desc()).limit(1000)).mappings()
    return [Silence(**row) for row in rows]


def get_silence(connection: Connection, id: str) -> Silence:
    """Return a silence; raise NotFound if there is none with this id."""
    row = connection.execute(select(schema.silences).where(schema.silences.c.id == id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no silence with the id '{id[:80]}'. List the silences with GET /v1/silences.")
    return Silence(**row)


def remove_silence(connection: Connection, id: str) -> None:
    """Delete a silence."""
    connection.execute(delete(schema.silences).where(schema.silences.c.id == id))


# ── Rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def memories(connection: Connection, vertical: str) -> dict[str, Memory]:
    """Return what the rules of a vertical remember, by their names."""
    table = schema.rules
    rows = connection.execute(select(table).where(table.c.vertical == vertical).order_by(table.c.rule))
    return {row.rule: Memory(row.weight, orjson.loads(row.state)) for row in rows}


def memories_of(connection: Connection, rule: str) -> dict[str, Memory]:
    """Return what a rule remembers of each vertical, by the names of the verticals."""
    table = schema.rules
    rows = connection.execute(select(table).where(table.c.rule == rule))
    return {row.vertical: Memory(row.weight, orjson.loads(row.state)) for row in rows}


def remember(connection: Connection, vertical: str, rule: str, memory: Memory) -> None:
    """Store what a rule remembers."""
    row = {"vertical": vertical, "rule": rule, "weight": memory.weight, "state": orjson.dumps(memory.state).decode()}
    key = [schema.rules.c.vertical, schema.rules.c.rule]
    connection.execute(insert(connection, schema.rules).values(row).on_conflict_do_update(index_elements=key, set_=row))


# ── Deletion ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def remove(connection: Connection, vertical: str | None, before: str | None, unsolved_too: bool) -> int:
    """Delete alerts of a vertical, or of all with None, that last changed before a time, if there is one, with their messages.

    Without `unsolved_too`, alerts whose reason lasts stay. Returns the number of alerts.
    """
    table = schema.alerts.c
    meant = [] if vertical is None else [table.vertical == vertical]
    meant += [] if before is None else [table.changed < before]
    meant += [] if unsolved_too else [table.state.not_in(UNSOLVED)]
    ids = select(table.id).where(*meant)
    connection.execute(delete(schema.deliveries).where(schema.deliveries.c.alert.in_(ids)))
    return int(connection.execute(delete(schema.alerts).where(*meant)).rowcount)


def remove_rules(connection: Connection, vertical: str) -> None:
    """Delete what the rules of a vertical remember, and its silences."""
    connection.execute(delete(schema.rules).where(schema.rules.c.vertical == vertical))
    connection.execute(delete(schema.silences).where(schema.silences.c.vertical == vertical))


def forget_evidence(connection: Connection, vertical: str | None, messages: Mapping[str, str]) -> None:
    """Empty the evidence of all alerts of a vertical, or of all verticals with None: it may quote a text that was deleted.

    Messages about them that were sent or given up lose their content. `messages` are those that wait, as `deliveries.without_evidence`
    returns them.
    """
    table, sent = schema.alerts.c, schema.deliveries.c
    mine = [] if vertical is None else [table.vertical == vertical]
    about = [sent.alert.in_(select(table.id).where(*mine)), sent.state != "waiting"]
    connection.execute(update(schema.alerts).where(table.evidence != "[]", *mine).values(evidence="[]"))
    connection.execute(update(schema.deliveries).where(*about).values(payload="{}"))
    for id, payload in messages.items():
        connection.execute(update(schema.deliveries).where(sent.id == id).values(payload=payload))


def _alert(row: RowMapping) -> Alert:
    return Alert(**{**row, "evidence": orjson.loads(row["evidence"])})
