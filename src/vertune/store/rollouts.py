"""Candidates that are compared with live models, and the history of both: rows as they are written and found; knows nothing of models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, RowMapping, func, select

from vertune.core.ids import time_ordered_id
from vertune.core.sentence import stored
from vertune.store import audit, schema
from vertune.store.database import format_time, insert

Mode = Literal["canary", "shadow"]
Action = Literal["deploy", "canary", "shadow", "promote", "cancel", "roll back"]


@dataclass(frozen=True, slots=True)
class Rules:
    """When a candidate is rolled back or promoted without a person."""

    roll_back: bool = True
    """Whether a candidate is rolled back that fails more often, is slower, or is less often right than the live model."""
    slower: float = 1.5
    """The factor by which the time of an answer may exceed the median time of the live model."""
    promote_after: int | None = None
    """Number of answers of the candidate after which it becomes live, if nothing speaks against it; None leaves that to a person."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A candidate that is being compared with the live model of a vertical."""

    vertical: str
    model: str
    live: str
    """The id of the model that was live when the rollout began."""
    mode: Mode
    share: float
    """The share of requests that a canary answers, from 0 to 1."""
    rules: Rules
    began: str
    first: str
    """An id: requests and feedback with greater ones came later."""
    actor: str


@dataclass(frozen=True, slots=True)
class Version:
    """One entry of the history of a vertical."""

    id: str
    at: str
    vertical: str
    action: Action
    model: str
    previous: str | None
    actor: str
    reason: str
    """What a person wrote, or a sentence as `core.sentence.stored` returns it."""
    evidence: dict[str, Any]


def start(connection: Connection, rollout: Rollout) -> None:
    """Store a rollout; one that the vertical has already is replaced."""
    row = {**asdict(rollout), "rules": orjson.dumps(asdict(rollout.rules)).decode()}
    statement = insert(connection, schema.rollouts).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=[schema.rollouts.c.vertical], set_=row))


def end(connection: Connection, vertical: str, first: str | None = None) -> bool:
    """Delete the rollout of a vertical, or this one alone, and return whether there was one: of several servers, one ends it."""
    table = schema.rollouts.c
    meant = [table.vertical == vertical, *([] if first is None else [table.first == first])]
    return bool(connection.execute(schema.rollouts.delete().where(*meant)).rowcount)


def running(connection: Connection) -> dict[str, Rollout]:
    """Return all rollouts, by the name of their vertical."""
    return {row["vertical"]: _rollout(row) for row in connection.execute(select(schema.rollouts)).mappings()}


def note(connection: Connection, vertical: str, action: Action, model: str, **about: Any) -> None:
    """Add an entry to the history of a vertical, and one to the audit; `about` are `previous`, `actor`, `reason` and `evidence`.

    A reason that is a sentence is stored with its figures, so that it can be read in any language.
    """
    row = {
        "id": time_ordered_id(), "at": format_time(datetime.now(UTC)), "vertical": vertical, "action": action, "model": model,
        "previous": about.get("previous"), "actor": about["actor"], "reason": stored(about.get("reason", "")),
        "evidence": orjson.dumps(about.get("evidence", {})).decode(),
    }  # fmt: skip
    connection.execute(schema.versions.insert().values(row))
    audit.note(connection, about["actor"], action, f"vertical {vertical}", {"model": model, "previous": about.get("previous")})


def history(connection: Connection, vertical: str, limit: int = 100) -> list[Version]:
    """Return the last entries of the history of a vertical, newest first."""
    table = schema.versions
    rows = connection.execute(select(table).where(table.c.vertical == vertical).order_by(table.c.id.desc()).limit(limit)).mappings()
    return [Version(**{**row, "evidence": orjson.loads(row["evidence"])}) for row in rows]


def verdicts(connection: Connection, rollout: Rollout) -> dict[str, dict[str, tuple[int, int]]]:
    """Return, by the id of the model and by customer, how many answers were called right and how many wrong since a rollout began.

    Of several verdicts on one answer, the last counts.
    """
    table = schema.feedback.c
    last = func.row_number().over(partition_by=(table.request, table.number), order_by=table.id.desc()).label("place")
    said = (
        select(table.model, table.customer, table.verdict, last)
        .where(table.vertical == rollout.vertical, table.id > rollout.first, table.request > rollout.first, table.verdict.is_not(None))
        .subquery()
    )
    columns = (said.c.model, said.c.customer, said.c.verdict)
    rows = connection.execute(select(*columns, func.count()).where(said.c.place == 1).group_by(*columns))
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for model, customer, verdict, count in rows:
        of_model = found.setdefault(model, {})
        right, wrong = of_model.get(customer, (0, 0))
        of_model[customer] = (right, wrong + count) if verdict == "wrong" else (right + count, wrong)
    return found


def _rollout(row: RowMapping) -> Rollout:
    return Rollout(**{**row, "rules": Rules(**orjson.loads(row["rules"]))})
