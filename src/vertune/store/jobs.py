"""The queue of jobs, which several servers may share: rows as they are added, taken, kept and ended; knows nothing of what a job does.

A worker takes a job for some seconds (a lease) and extends this time while it works. If it dies, another worker sees the same lease for
this time and takes the job: the clocks of two machines may differ, and any clock may be set. On PostgreSQL, workers skip rows that others
are just taking; on SQLite, one transaction writes at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from sqlalchemy import ColumnElement, Connection, Row, case, delete, false, func, or_, select, update

from vertune.core.errors import Conflict, NotFound
from vertune.core.sentence import said, stored
from vertune.store import schema
from vertune.store.database import Database, format_time
from vertune.store.once import add_once, find_repeated
from vertune.store.usage import add_job

Kind = Literal["prepare", "train", "fit", "evaluate", "compress", "share", "predict", "rank", "retrain"]
State = Literal["queued", "running", "done", "failed", "cancelled"]
LEASE = timedelta(seconds=30)
"""How long a job stays with a worker that gives no sign."""
ATTEMPTS = 3
"""Number of workers that may die of a job before it fails."""
_NEWEST = 200
"""Number of a customer's newest jobs among which the last that began is looked for."""
_EVENTS = 5000
"""Maximum number of events that are kept of one job."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work for which a request does not wait."""

    id: str
    at: str
    customer: str
    kind: Kind
    vertical: str
    request: dict[str, Any]
    """What is to be done, as the process of the job reads it."""
    priority: int
    state: State
    attempts: int
    """How often a worker has taken it."""
    started: str | None
    ended: str | None
    stop: bool
    """Whether somebody cancelled it."""
    result: dict[str, Any] | None
    """The ids of what it made."""
    why: str | None
    """Why it failed: a text, or a sentence as `core.sentence.stored` returns it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs are meant; None does not restrict them."""

    customer: str | None = None
    verticals: Sequence[str] | None = None
    state: State | None = None
    before: str | None = None
    """Only jobs with smaller ids, which are older ones."""

    def contains(self, job: Job) -> bool:
        """Return whether the customer and the verticals are those of a job."""
        return self.customer in (None, job.customer) and (self.verticals is None or job.vertical in self.verticals)


def add(database: Database, row: dict[str, Any], sent: str | None = None) -> tuple[Job, bool]:
    """Put a job into the queue, and return it, with whether it is new; it is on the disk when this returns.

    A job with an `idempotency` that the customer used before is not added again; the first one is returned. Raises Conflict if that one
    had another `digest`, with the key as it was `sent`, and StorageError if the database can't be written.
    """
    row = {"state": "queued", "attempts": 0, "stop": 0, **row, "request": orjson.dumps(row["request"]).decode()}

    def counted(connection: Connection) -> None:
        add_job(connection, row["customer"], row.get("key"), row["vertical"])

    stored, new = add_once(database, schema.jobs, row, _conflict(sent), counted)
    return _found(stored), new


def repeated(database: Database, row: dict[str, Any], sent: str | None) -> Job | None:
    """Return the job that the same request started before, None if there is none; raise Conflict as `add` does."""
    stored = find_repeated(database, schema.jobs, row, _conflict(sent))
    return None if stored is None else _found(stored)


def _conflict(sent: str | None) -> str:
    return (
        f"The idempotency key '{(sent or '')[:80]}' was used for another job. Send a new key with a new job, and the same key only with "
        "the same request."
    )


def unfinished(connection: Connection, customer: str, kind: Kind, vertical: str) -> Job | None:
    """Return a job of this kind about a vertical that is queued or running; None if there is none."""
    table = schema.jobs.c
    mine = [table.customer == customer, table.kind == kind, table.vertical == vertical, table.state.in_(("queued", "running"))]
    row = connection.execute(select(schema.jobs).where(*mine).order_by(table.id.desc()).limit(1)).one_or_none()
    return None if row is None else _found(row)


def find(connection: Connection, wanted: Filter, limit: int) -> list[Job]:
    """Return jobs, newest first, at most `limit`."""
    table = schema.jobs.c
    conditions = [
        *([] if wanted.customer is None else [table.customer == wanted.customer]),
        *([] if wanted.verticals is None else [table.vertical.in_(wanted.verticals)]),
        *([] if wanted.state is None else [table.state == wanted.state]),
        *([] if wanted.before is None else [table.id < wanted.before]),
    ]
    return [_found(row) for row in connection.execute(select(schema.jobs).where(*conditions).order_by(table.id.desc()).limit(limit))]


def get(connection: Connection, id: str, wanted: Filter) -> Job:
    """Return a job; raise NotFound if there is none with this id among those that are meant."""
    row = connection.execute(select(schema.jobs).where(schema.jobs.c.id == id)).one_or_none()
    job = None if row is None else _found(row)
    if job is None or not wanted.contains(job):
        raise NotFound(f"There is no job with the id '{id[:80]}'. List the jobs with GET /v1/jobs.")
    return job


def count(connection: Connection, customer: str) -> int:
    """Return how many jobs of a customer are queued or running."""
    table = schema.jobs.c
    waiting = select(func.count()).select_from(schema.jobs).where(table.customer == customer, table.state.in_(["queued", "running"]))
    return int(connection.execute(waiting).scalar_one())


class Leases:
    """What one worker saw of the leases of running jobs, with a clock that nobody can set."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns the current time in seconds; it must never go back."""
        self._clock = clock
        self._seen: dict[str, tuple[str, float]] = {}
        """By the id of a running job, its lease, and the time at which this lease was first seen."""
        self._looked = -float("inf")

    def unchanged(self, running: Mapping[str, str]) -> dict[str, str]:
        """Return those of the leases, by the ids of running jobs, that have been the same for the time `LEASE`.

        This time begins anew if nobody looked for half of it: a database that is gone lets no worker extend a lease.
        """
        now = self._clock()
        if now - self._looked > LEASE.total_seconds() / 2:
            self._seen = {}
        self._looked = now
        known = {id: self._seen.get(id, (lease, now)) for id, lease in running.items()}
        self._seen = {id: (running[id], since if lease == running[id] else now) for id, (lease, since) in known.items()}
        return {id: lease for id, (lease, since) in self._seen.items() if now - since >= LEASE.total_seconds()}


def take(database: Database, worker: str, leases: Leases, own: Collection[str] = ()) -> Job | None:
    """Take the job with the highest priority for a worker; return None if none is waiting.

    Of several, customers take turns: the oldest of the customer whose last job began longest ago is taken, so that a customer with many
    jobs does not hold up the others.

    A running job whose worker gave no sign for `LEASE`, while `leases` were looked at, is taken too; after `ATTEMPTS` such workers, it has
    failed. `own` are the ids of jobs that this worker runs: it may be unable to write that it does.
    """
    table, now = schema.jobs.c, datetime.now(UTC)
    with database.reading() as connection:  # without the lock that writers need
        queued = connection.execute(select(table.id).where(table.state == "queued").limit(1)).scalar()
        found = connection.execute(select(table.id, table.lease).where(table.state == "running"))
        running = {row.id: row.lease for row in found}
    silent = {id: lease for id, lease in leases.unchanged(running).items() if id not in own}
    if queued is None and not silent:
        return None
    died = stored(said("job.died", attempts=ATTEMPTS))
    left = (table.state == "running") & or_(false(), *((table.id == id) & (table.lease == lease) for id, lease in silent.items()))
    with database.writing() as connection:
        connection.execute(
            update(schema.jobs)
            .where(left, or_(table.attempts >= ATTEMPTS, table.stop == 1))
            .values(state=case((table.stop == 1, "cancelled"), else_="failed"), ended=format_time(now), why=died, worker=None, lease=None)
        )
        id = _next(connection, or_(table.state == "queued", left))
        if id is None:
            return None
        taken = {"state": "running", "worker": worker, "lease": format_time(now + LEASE), "attempts": table.attempts + 1}
        started = func.coalesce(table.started, format_time(now))
        connection.execute(update(schema.jobs).where(table.id == id).values({**taken, "started": started}))
        return _found(connection.execute(select(schema.jobs).where(table.id == id)).one())


def _next(connection: Connection, waits: ColumnElement[bool]) -> str | None:
    """Return the id of the job that is to be taken of those that wait, and lock its row; None if there is none."""
    table = schema.jobs.c
    oldest = connection.execute(
        select(table.priority, table.customer, func.min(table.id)).where(waits).group_by(table.priority, table.customer)
    )
    first = [(-priority, _last_began(connection, customer), id) for priority, customer, id in oldest]
    waiting = select(table.id).where(waits).order_by(table.priority.desc(), table.id)
    chosen = [waiting.where(table.id == id) for *_, id in sorted(first)] + [waiting]  # the last for rows that others are just taking
    locked = (connection.scalar(one.limit(1).with_for_update(skip_locked=True)) for one in chosen)
    return next((id for id in locked if id is not None), None)


def _last_began(connection: Connection, customer: str) -> str:
    """Return when the last of a customer's newest jobs began; empty if none has."""
    table = schema.jobs.c
    newest = select(table.started).where(table.customer == customer).order_by(table.id.desc()).limit(_NEWEST).subquery()
    return str(connection.scalar(select(func.max(newest.c.started))) or "")


def keep(database: Database, id: str, worker: str, events: Sequence[tuple[int, dict[str, Any]]] = ()) -> Literal["go on", "stop", "lost"]:
    """Extend the time for which a worker has a job, and add events with their numbers; return what the worker is to do.

    It is to `stop` if somebody cancelled the job; the job is `lost` if another worker took it meanwhile.
    """
    table = schema.jobs.c
    with database.writing() as connection:
        mine = (table.id == id) & (table.worker == worker) & (table.state == "running")
        kept = connection.execute(update(schema.jobs).where(mine).values(lease=format_time(datetime.now(UTC) + LEASE)))
        if not kept.rowcount:
            return "lost"
        _add_events(connection, id, events)
        stop = connection.execute(select(table.stop).where(table.id == id)).scalar_one()
    return "stop" if stop else "go on"


def end(database: Database, id: str, worker: str, state: State, **about: Any) -> bool:
    """End a job of a worker; `about` are `result`, `why` and the last `events`. Return False if the worker has it no longer.

    A `why` that is a sentence is stored with its figures.

    With the state `queued`, the job goes back into the queue, as if the worker had not taken it; with `counts`, as one attempt.
    """
    table, result = schema.jobs.c, about.get("result")
    back = state == "queued"
    with database.writing() as connection:
        values: dict[str, Any] = {
            "state": state, "worker": None, "lease": None, "why": None if about.get("why") is None else stored(about["why"]),
            "ended": None if back else format_time(datetime.now(UTC)),
            "result": None if result is None else orjson.dumps(result).decode(),
        }  # fmt: skip
        values |= {"attempts": table.attempts - 1} if back and not about.get("counts") else {}
        ended = connection.execute(update(schema.jobs).where(table.id == id, table.worker == worker).values(values))
        if ended.rowcount:
            _add_events(connection, id, about.get("events", ()))
        return bool(ended.rowcount)


def cancel(connection: Connection, job: Job) -> None:
    """Cancel a job: one that is queued ends at once, and one that runs within seconds. One that has ended stays as it is."""
    table = schema.jobs.c
    queued = update(schema.jobs).where(table.id == job.id, table.state == "queued")
    connection.execute(queued.values(state="cancelled", stop=1, ended=format_time(datetime.now(UTC))))
    connection.execute(update(schema.jobs).where(table.id == job.id, table.state == "running").values(stop=1))


def check_ended(job: Job) -> None:
    """Raise Conflict if a job is queued or runs."""
    if job.state in ("queued", "running"):
        raise Conflict(f"The job '{job.id}' has not ended. Wait for its end, or cancel it with POST /v1/jobs/ID/cancel.")


def remove(connection: Connection, job: Job) -> None:
    """Delete a job that has ended, with its events; raise Conflict if it is queued or runs."""
    check_ended(job)
    connection.execute(delete(schema.job_events).where(schema.job_events.c.job == job.id))
    connection.execute(delete(schema.jobs).where(schema.jobs.c.id == job.id))


def events(connection: Connection, id: str, after: int = 0, limit: int = 1000) -> list[tuple[int, dict[str, Any]]]:
    """Return the events of a job with greater numbers than `after`, in order, at most `limit`, each with its number."""
    table = schema.job_events.c
    rows = connection.execute(
        select(table.number, table.event).where(table.job == id, table.number > after).order_by(table.number).limit(limit)
    )
    return [(number, orjson.loads(event)) for number, event in rows]


def last_event(connection: Connection, id: str) -> int:
    """Return the number of the last event of a job; 0 if it has none."""
    table = schema.job_events.c
    return int(connection.execute(select(func.coalesce(func.max(table.number), 0)).where(table.job == id)).scalar_one())


def _add_events(connection: Connection, id: str, events: Sequence[tuple[int, dict[str, Any]]]) -> None:
    rows = [
        {"job": id, "number": number, "event": orjson.dumps(event, default=str).decode()} for number, event in events if number <= _EVENTS
    ]
    if rows:
        connection.execute(schema.job_events.insert(), rows)


def _found(row: Row[Any]) -> Job:
    about = {name: row._mapping[name] for name in Job.__dataclass_fields__}
    result = None if row.result is None else orjson.loads(row.result)
    return Job(**{**about, "request": orjson.loads(row.request), "result": result, "stop": bool(row.stop)})
