"""Begins retrainings when there is a reason, and leads each from stage to stage: training, gate, shadow, canary, live.

Each stage is left in one transaction. What a stage starts, such as a job or a rollout, is found again by whoever goes on after a crash, so
it is started once. What a model learns and whether it passes is decided elsewhere: this module follows a job and a rollout.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import ConfigError, Conflict, NotFound
from vertune.core.ids import first_id_of
from vertune.core.watch import FAILURES, Retrain, Watch, duration
from vertune.runtime.live import read_live
from vertune.steps.deploy import Plan, Versions, is_prepared
from vertune.store import alerts, feedback, labels, projects, retrainings, rollouts
from vertune.store.alerts import UNSOLVED, Filter
from vertune.store.audit import note
from vertune.store.database import Database
from vertune.store.jobs import Job, Kind
from vertune.store.key import DEFAULT_CUSTOMER
from vertune.store.retrainings import Retraining
from vertune.store.rollouts import Rollout, Rules

ACTOR = "watch"
"""Who moves models here, for the history."""
_SHADOW_SHARE, _CANARY_SHARE = 0.5, 0.1
"""The shares of the requests that a candidate answers in shadow, and as a canary."""
Queue = Callable[[Kind, str, dict[str, Any], str], Job]
"""Puts a job of a kind about a vertical into the queue, with its request, and returns it as it is now.

The last argument is the same for the same piece of work, so that a job is started once.
"""
Find = Callable[[str], Job | None]
"""Returns the job with an id, or None."""
Compared = Callable[[Rollout], int | None]
"""Returns the number of requests that the candidate of a rollout answered, None if this process does not compare it."""
PASSED = "pass"
"""The verdict of the gate on a candidate that may go on."""


@dataclass(frozen=True, slots=True)
class Ring:
    """What retrainings need of the process that leads them."""

    home: Home
    database: Database
    queue: Queue
    find: Find
    compared: Compared
    check: Callable[[Connection], None] = lambda connection: None
    """Raises Conflict, in a transaction, if another process leads them now."""

    @property
    def versions(self) -> Versions:
        """What moves models."""
        return Versions(self.home, self.database, ACTOR)

    def move(self, one: Retraining, stage: retrainings.Stage, **about: str | None) -> None:
        """Move a retraining on, unless another process did, and tell the audit."""
        with self.database.writing() as connection:
            self.check(connection)
            if retrainings.move(connection, one, stage, **about):
                made = {name: about.get(name) or getattr(one, name) for name in ("job", "dataset", "model", "report")}
                note(connection, ACTOR, f"retrain: {stage}", f"retraining {one.id}", {"vertical": one.vertical, **made})


def reason(connection: Connection, vertical: str, wanted: Retrain, live: Artifact, now: datetime) -> dict[str, Any] | None:
    """Return why a vertical is to be trained again now, and on what; None if it is not.

    What it learns is feedback, and the labels of the labelling project with its name. Nothing is trained without anything new to learn, nor
    sooner than `least_pause` after the last time.
    """
    last = next(iter(retrainings.find(connection, [vertical], 1)), None)
    since = live.created if last is None else datetime.fromisoformat(last.at)
    if not wanted.wanted or (last is not None and now - since < duration(wanted.least_pause)):
        return None
    learnt = _learnt(connection, vertical, live.manifest.get("customer"), first_id_of(since))
    new = sum(count for _, count in learnt)
    if not new:
        return None
    found = {"new": new, "on": [source for source, count in learnt if count]}
    if wanted.labels is not None and new >= wanted.labels:
        return {"reason": "labels", **found}
    if wanted.every is not None and now - since >= duration(wanted.every):
        return {"reason": "time", **found}
    alert = _drift(connection, vertical, first_id_of(since)) if wanted.on_drift else None
    return None if alert is None else {"reason": "drift", "alert": alert, **found}


def _learnt(connection: Connection, vertical: str, customer: str | None, after: str) -> list[tuple[dict[str, Any], int]]:
    """Return each source of new rows, and how many of its rows came after an id."""
    given = 0
    with suppress(NotFound):
        project = projects.get(connection, vertical, customer or DEFAULT_CUSTOMER)
        given = labels.count_done(connection, project.id, after)
    from_feedback = feedback.count_usable(connection, vertical, after)
    return [(_feedback(vertical, customer), from_feedback), ({"name": "labels", "project": vertical, "customer": customer}, given)]


def _feedback(vertical: str, customer: str | None) -> dict[str, Any]:
    """Return the source that reads the feedback on a vertical."""
    return {"name": "feedback", "vertical": vertical, "customer": customer}


def _drift(connection: Connection, vertical: str, after: str) -> str | None:
    """Return the id of an unsolved alert with a greater id than `after` that training can help against; None if there is none."""
    found = alerts.find(connection, Filter(verticals=[vertical], states=UNSOLVED), 100)
    return next((one.id for one in found if one.monitor not in FAILURES and one.id > after), None)


def advance(ring: Ring, one: Retraining, watch: Watch) -> None:
    """Lead a retraining as far as it can go now."""
    if one.stage in retrainings.ENDED:
        return
    live = read_live(ring.home).models.get(one.vertical)
    if live is None:
        ring.move(one, "failed", why="The vertical has no live model any more.")
    elif one.stage == "assemble":
        job = ring.queue("retrain", one.vertical, training_request(one, live, watch.retrain), f"{one.id}:retrain")
        ring.move(one, "train", job=job.id)
    elif one.stage in ("train", "gate"):
        _follow(ring, one, watch.retrain, live)
    else:
        _compare(ring, one, watch.retrain, live)


def training_request(one: Retraining, live: Artifact, wanted: Retrain) -> dict[str, Any]:
    """Return what the job that trains and judges a candidate reads: the vertical, where new rows come from, and what may be lost."""
    on = one.request.get("on") or [_feedback(one.vertical, live.manifest.get("customer"))]
    return {"vertical": one.vertical, "on": on, "how": "auto", "tolerance": wanted.tolerance}


def _follow(ring: Ring, one: Retraining, wanted: Retrain, live: Artifact) -> None:
    """Follow the job that trains a candidate and lets the gate judge it; then prepare the candidate, and begin its rollout."""
    job = None if one.job is None else ring.find(one.job)
    if job is None or job.state in ("failed", "cancelled"):
        why = "Its job was deleted." if job is None else "Its job was cancelled." if job.state == "cancelled" else job.why
        ring.move(one, "failed", why=why)
        return
    if job.result is None:
        return
    made = {name: job.result.get(name) for name in ("dataset", "model", "report")}
    if job.result.get("verdict") != PASSED:
        ring.move(one, "refused", why=str(job.result.get("headline") or "The gate did not let it pass."), **made)
    elif one.stage == "train":
        ring.move(one, "gate", **made)
    elif wanted.go_live == "never":
        ring.move(one, "done", why="The model has passed the gate, and waits for a person.")
    elif str(one.model) == live.id:
        ring.move(one, "done", why="A person made the model live.")
    elif _is_outdated(ring.home, one, live):
        ring.move(one, "refused", why=f"The gate compared it with another model than {live.id}, which is live now.")
    elif _prepared(ring, one):
        _begin(ring, one, "shadow")


def _is_outdated(home: Home, one: Retraining, live: Artifact) -> bool:
    """Whether another model is live than the one with which the gate compared the candidate."""
    report = None if one.report is None else home.find("reports", one.report)
    return report is not None and live.id not in report.parents


def _prepared(ring: Ring, one: Retraining) -> bool:
    """Return whether the candidate can be served; if not, let a job prepare it, and end the retraining if that fails."""
    try:
        if is_prepared(ring.home, ring.home.get("models", str(one.model))):
            return True
        job = ring.queue("share", one.vertical, {"model": str(one.model)}, f"{one.id}:share")
    except NotFound as error:
        ring.move(one, "failed", why=str(error))
        return False
    if job.state in ("failed", "cancelled", "done"):
        ring.move(one, "failed", why=job.why or "The model could not be prepared for serving.")
    return False


def _begin(ring: Ring, one: Retraining, mode: rollouts.Mode, promote_after: int | None = None) -> None:
    """Begin the rollout of the candidate, unless it has begun, and move the retraining on."""
    with ring.database.reading() as connection:
        running = rollouts.running(connection).get(one.vertical)
    if running is not None and running.model != one.model:
        return  # a person compares another model at the moment
    if running is None or running.mode != mode:
        plan = Plan(mode, _SHADOW_SHARE if mode == "shadow" else _CANARY_SHARE, Rules(promote_after=promote_after))
        try:
            ring.versions.begin(one.vertical, str(one.model), plan, f"retraining {one.id}, report {one.report}")
        except (ConfigError, Conflict, NotFound) as error:
            ring.move(one, "failed", why=str(error))
            return
    ring.move(one, mode)


def _compare(ring: Ring, one: Retraining, wanted: Retrain, live: Artifact) -> None:
    """Follow the rollout of the candidate, which ends it if it is worse, and makes it live if that is wanted."""
    with ring.database.reading() as connection:
        running = rollouts.running(connection).get(one.vertical)
        history = rollouts.history(connection, one.vertical, 10)
    if running is None or running.model != one.model:
        if live.id == one.model:
            ring.move(one, "done", why="The model is live.")
        else:
            ended = next((entry for entry in history if entry.model == one.model and entry.action in ("cancel", "roll back")), None)
            ring.move(one, "refused", why=(ended.reason if ended and ended.reason else "Its comparison with the live model was ended."))
    elif running.mode != one.stage:
        ring.move(one, running.mode)  # begun just before a crash, or by a person
    elif one.stage == "shadow" and wanted.go_live in ("canary", "live") and (ring.compared(running) or 0) >= wanted.enough:
        _begin(ring, one, "canary", wanted.enough if wanted.go_live == "live" else None)
