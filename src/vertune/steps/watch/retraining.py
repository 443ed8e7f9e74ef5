"""Leads retrainings from stage to stage: training, gate, shadow, canary, live; one of which the gate can't tell waits for labels.

Each stage is left in one transaction, with the message to the channels if people are to be told. What a stage starts, such as a job or a
rollout, is found again by whoever goes on after a crash, so it is started once. What a model learns and whether it passes is decided
elsewhere: this module follows a job and a rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from vertune.core.artifact import Artifact, Home
from vertune.core.channel import Event
from vertune.core.errors import ConfigError, Conflict, NotFound
from vertune.core.sentence import said, stored
from vertune.core.watch import Retrain, Watch
from vertune.runtime.live import read_live
from vertune.steps.alert import messages
from vertune.steps.deploy import Plan, Versions, is_prepared
from vertune.steps.watch.reasons import feedback_on, judging_sources, labels_waited_for
from vertune.store import deliveries, retrainings, rollouts
from vertune.store.audit import note
from vertune.store.database import Database, format_time
from vertune.store.jobs import Job, Kind
from vertune.store.retrainings import Retraining, Stage
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
PASSED, UNDECIDED = "pass", "unknown"
"""The verdicts of the gate on a candidate that may go on, and on one of which it can't tell."""
_MADE = ("job", "dataset", "model", "report")


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


@dataclass(frozen=True, slots=True)
class _Lead:
    """One retraining that is led on now."""

    ring: Ring
    one: Retraining
    watch: Watch
    live: Artifact | None

    def move(self, stage: Stage, about: Mapping[str, Any] | None = None, event: Event | None = None, why: str = "") -> None:
        """Move the retraining on, unless another process did, and tell the audit; with an event, tell people too.

        `about` has what is to be stored of it: `job`, `dataset`, `model`, `report` and `request`.
        """
        one, about = self.one, about or {}
        entries: dict[str, Any] = {**about, **({"why": stored(why)} if why else {})}
        with self.ring.database.writing() as connection:
            self.ring.check(connection)
            if not retrainings.move(connection, one, stage, **entries):
                return
            made = {name: about.get(name) or getattr(one, name) for name in _MADE}
            note(connection, ACTOR, f"retrain: {stage}", f"retraining {one.id}", {"vertical": one.vertical, **made})
            if event is not None:
                moved = replace(one, request=about.get("request", one.request))
                written = messages.of_retraining(event, moved, why, made, self.watch.language)
                deliveries.add_next(connection, one.id, [channel.called for channel in self.watch.channels], written.payload())

    def fail(self, why: str) -> None:
        """End the retraining, because something went wrong."""
        self.move("failed", event="failed", why=why)

    def refuse(self, why: str, about: Mapping[str, Any] | None = None) -> None:
        """End the retraining, because its candidate is not good enough."""
        self.move("refused", about, "refused", why)


def advance(ring: Ring, one: Retraining, watch: Watch) -> None:
    """Lead a retraining as far as it can go now."""
    if one.stage in retrainings.ENDED:
        return
    live = read_live(ring.home).models.get(one.vertical)
    lead = _Lead(ring, one, watch, live)
    if live is None:
        lead.fail(said("retraining.no_live"))
    elif one.stage == "assemble":
        job = ring.queue("retrain", one.vertical, training_request(one, live, watch.retrain), f"{one.id}:retrain")
        lead.move("train", {"job": job.id})
    elif one.stage in ("train", "gate"):
        _follow(lead, live)
    elif one.stage == retrainings.WAITING:
        _wait(lead, live)
    else:
        _compare(lead, live)


def training_request(one: Retraining, live: Artifact, wanted: Retrain) -> dict[str, Any]:
    """Return what the job that trains and judges a candidate reads: the vertical, where new rows come from, and what may be lost."""
    on = one.request.get("on") or [feedback_on(one.vertical, live.manifest.get("customer"))]
    return {"vertical": one.vertical, "on": on, "how": "auto", "tolerance": wanted.tolerance}


def _follow(lead: _Lead, live: Artifact) -> None:
    """Follow the job that trains a candidate and lets the gate judge it; then prepare the candidate, and begin its rollout."""
    ring, one, wanted = lead.ring, lead.one, lead.watch.retrain
    job = None if one.job is None else ring.find(one.job)
    if job is None or job.state in ("failed", "cancelled"):
        lead.fail(said(f"retraining.job_{'deleted' if job is None else 'cancelled'}") if job is None or job.why is None else job.why)
        return
    if job.result is None:
        return
    made = {name: job.result.get(name) for name in ("dataset", "model", "report")}
    verdict = job.result.get("verdict")
    if verdict == UNDECIDED:
        _begin_to_wait(lead, job, made)
    elif verdict != PASSED:
        lead.refuse(_judged("retraining.refused", job.result), made)
    elif one.stage == "train" or one.report != made["report"]:
        lead.move("gate", made)
    elif str(one.model) == live.id:
        lead.move("done", None, "live", said("retraining.by_person"))
    elif wanted.go_live == "never":
        lead.move("done", None, "passed", said("retraining.passed"))
    elif _is_outdated(ring.home, one, live):
        lead.refuse(said("retraining.outdated", live=live.id))
    elif _prepared(lead):
        _begin(lead, "shadow")


def _judged(key: str, result: Mapping[str, Any], **figures: Any) -> str:
    """Return the verdict of the gate as a sentence that names the checks on which it depends."""
    names = result.get("checks")
    if not names:  # an earlier version did the job
        headline = result.get("headline")
        return str(headline) if headline else said("retraining.not_passed")
    return said(key, checks=[_check(str(name)) for name in names], **figures)


def _check(name: str) -> str:
    try:
        return said(f"check.{name}")
    except KeyError:
        return name


# ── Waiting for labels ───────────────────────────────────────────────────────────────────────────────────────────────────


def _begin_to_wait(lead: _Lead, job: Job, made: Mapping[str, Any]) -> None:
    """Let a candidate wait for the labels with which the gate could tell.

    They count from the time at which the job began, because what was labelled after it had read its rows is new to the gate.
    """
    result, earlier = job.result or {}, lead.one.request.get("wait") or {}
    needed = result.get("labels_needed")
    wait = {"since": job.started or format_time(datetime.now(UTC)), "labels": needed, "look": int(earlier.get("look", 1)) + 1}
    figures = {"labels": f"{int(needed):,}"} if needed else {}
    why = _judged("retraining.waiting" if needed else "retraining.undecided", result, **figures)
    lead.move("waiting", {**made, "request": {**lead.one.request, "wait": wait}}, "waiting", why)


def _wait(lead: _Lead, live: Artifact) -> None:
    """Let the gate judge a candidate once more if there are enough labels; end the retraining if a person moved a model meanwhile."""
    ring, one = lead.ring, lead.one
    wait = one.request.get("wait") or {}
    if one.model == live.id:
        lead.move("done", None, "live", said("retraining.by_person"))
        return
    if _is_outdated(ring.home, one, live):
        lead.refuse(said("retraining.outdated", live=live.id))
        return
    if not wait.get("labels"):
        return  # labels would not decide, so a person does, or a newer training
    customer = live.manifest.get("customer")
    with ring.database.reading() as connection:
        if labels_waited_for(connection, one, customer) < wait["labels"]:
            return
        on = judging_sources(connection, one.vertical, customer)
    request = {"vertical": one.vertical, "on": on, "tolerance": lead.watch.retrain.tolerance, "model": one.model}
    job = ring.queue("retrain", one.vertical, request, f"{one.id}:look {wait['look']}")
    lead.move("gate", {"job": job.id})


# ── From shadow to live ──────────────────────────────────────────────────────────────────────────────────────────────────


def _is_outdated(home: Home, one: Retraining, live: Artifact) -> bool:
    """Whether another model is live than the one with which the gate compared the candidate."""
    report = None if one.report is None else home.find("reports", one.report)
    return report is not None and live.id not in report.parents


def _prepared(lead: _Lead) -> bool:
    """Return whether the candidate can be served; if not, let a job prepare it, and end the retraining if that fails."""
    ring, one = lead.ring, lead.one
    try:
        if is_prepared(ring.home, ring.home.get("models", str(one.model))):
            return True
        job = ring.queue("share", one.vertical, {"model": str(one.model)}, f"{one.id}:share")
    except NotFound as error:
        lead.fail(str(error))
        return False
    if job.state in ("failed", "cancelled", "done"):
        lead.fail(job.why or said("retraining.unprepared"))
    return False


def _begin(lead: _Lead, mode: rollouts.Mode, promote_after: int | None = None) -> None:
    """Begin the rollout of the candidate, unless it has begun, and move the retraining on."""
    ring, one = lead.ring, lead.one
    with ring.database.reading() as connection:
        running = rollouts.running(connection).get(one.vertical)
    if running is not None and running.model != one.model:
        return  # a person compares another model at the moment
    if running is None or running.mode != mode:
        plan = Plan(mode, _SHADOW_SHARE if mode == "shadow" else _CANARY_SHARE, Rules(promote_after=promote_after))
        try:
            ring.versions.begin(one.vertical, str(one.model), plan, said("rollout.retraining", retraining=one.id, report=one.report))
        except (ConfigError, Conflict, NotFound) as error:
            lead.fail(str(error))
            return
    lead.move(mode)


def _end(lead: _Lead, live: Artifact, history: Sequence[rollouts.Version]) -> None:
    """End a retraining whose rollout has ended: with success if its candidate became live, even if another model is live by now.

    `live` may have been read before the rollout ended, so the history is looked at where it is another model.
    """
    mine = lead.one.model
    ends = [entry for entry in history if entry.action in ("promote", "deploy", "cancel", "roll back")]
    last = next((entry for entry in ends if mine == (entry.previous if entry.action == "roll back" else entry.model)), None)
    if live.id == mine or (last is not None and last.action in ("promote", "deploy")):
        lead.move("done", None, "live", said("retraining.live"))
    else:
        lead.refuse(last.reason if last is not None and last.reason else said("retraining.ended"))


def _compare(lead: _Lead, live: Artifact) -> None:
    """Follow the rollout of the candidate, which ends it if it is worse, and makes it live if that is wanted."""
    ring, one, wanted = lead.ring, lead.one, lead.watch.retrain
    with ring.database.reading() as connection:
        running = rollouts.running(connection).get(one.vertical)
        history = rollouts.history(connection, one.vertical, 10)
    if running is None or running.model != one.model:
        _end(lead, live, history)
    elif running.mode != one.stage:
        lead.move(running.mode)  # begun just before a crash, or by a person
    elif one.stage == "shadow" and wanted.go_live in ("canary", "live") and (ring.compared(running) or 0) >= wanted.enough:
        _begin(lead, "canary", wanted.enough if wanted.go_live == "live" else None)
