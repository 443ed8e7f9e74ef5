"""`/v1/alerts`, `/v1/silences` and `/v1/rules`: what people are told and decide; does not depend on how alerts are raised and sent."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.errors import NotFound, UnknownName
from vertune.core.sentence import Language, titled, written
from vertune.core.watch import Rule, Severity
from vertune.runtime.live import read_live
from vertune.server import problems
from vertune.server.feedback import Short
from vertune.server.resource import Resource
from vertune.server.stored import In, actor_of, database_of
from vertune.server.watched import Comment, require_visible, rules_of, visible, watch_of
from vertune.steps.alert import decide, messages, rules
from vertune.store import alerts, deliveries
from vertune.store.alerts import Alert, Filter, Memory, Silence, State
from vertune.store.audit import note
from vertune.store.database import format_time
from vertune.store.deliveries import Delivery

resource = Resource("monitoring")


class AlertInfo(BaseModel):
    """What people are told about a vertical."""

    id: str
    vertical: str
    rule: str
    monitor: str
    severity: Severity
    state: State
    began: str
    """When the window begins in which the change was seen first, in UTC."""
    changed: str
    ended: str | None
    value: float | None
    why: str
    evidence: list[dict[str, Any]]
    """Rows of a table that shows what has changed."""
    actor: str | None
    """Who changed the state last; null if no person did."""
    comment: str | None


class AlertPage(BaseModel):
    """Some alerts, newest first."""

    alerts: list[AlertInfo]
    next: str | None
    """The value for `before` to get older ones; null if there are none."""


class DeliveryInfo(BaseModel):
    """A message about an alert on its way to a channel."""

    channel: str
    state: deliveries.State
    attempts: int
    next: str
    """When it is tried again, if it waits, in UTC."""
    error: str | None


class AlertDetails(AlertInfo):
    """An alert, with what people are told of it."""

    title: str
    """What the monitor measures."""
    shown: str
    """The value in its unit."""
    advice: list[str]
    """What to do, in sentences."""
    deliveries: list[DeliveryInfo] | None
    """The messages about it; null without the permission `admin`."""


class AlertQuery(BaseModel):
    """Which alerts are asked for."""

    model_config = ConfigDict(extra="forbid")

    vertical: Short | None = None
    state: State | None = None
    before: Annotated[str | None, Field(max_length=32, pattern=r"^[0-9a-f]*$")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    language: Language = "en"
    """The language of the sentences."""


class Verdict(BaseModel):
    """What a person says of an alert."""

    model_config = ConfigDict(extra="forbid")

    comment: Comment = ""


class SilenceRequest(BaseModel):
    """A time in which nobody is told of alerts."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"vertical": "support", "hours": 12, "reason": "a sale"}]})

    vertical: Short | None = None
    """Null stands for all verticals."""
    rule: Short | None = None
    """Null stands for all rules; one that is named needs a vertical."""
    hours: Annotated[float, Field(gt=0, le=24 * 366)]
    reason: Comment = ""


class SilenceInfo(BaseModel):
    """A time in which nobody is told of alerts."""

    id: str
    vertical: str | None
    rule: str | None
    until: str
    actor: str
    reason: str


class RuleInfo(BaseModel):
    """A rule of a vertical, and how much it is believed."""

    name: str
    monitors: list[str]
    severity: Severity
    after: int
    calm: int
    cool_down: str
    weight: float
    """From 0 to 1: people who call alerts false lower it, those who acknowledge right ones raise it."""
    windows: int
    """Number of successive windows with a change that it needs now."""
    advice: list[str]
    """Why the weight is below 1, and what to change, in sentences."""


@resource.get("/v1/alerts", scope="predict")
def list_alerts(request: Request, query: Annotated[AlertQuery, Query()]) -> AlertPage:
    """List alerts. A customer sees those of verticals that no other customer uses, and with the permission `admin` those of all."""
    states = None if query.state is None else [query.state]
    with database_of(request).reading() as connection:
        wanted = Filter(visible(request, connection, query.vertical), states, query.before)
        found = alerts.find(connection, wanted, query.limit + 1)
    more = len(found) > query.limit
    shown = [_info(one, query.language) for one in found[: query.limit]]
    return AlertPage(alerts=shown, next=found[query.limit - 1].id if more else None)


@resource.get("/v1/alerts/{id}", scope="predict")
def describe_alert(id: str, request: Request, language: In = "en") -> AlertDetails:
    """Describe an alert, with what to do, in English or Chinese."""
    with database_of(request).reading() as connection:
        alert = _alert(request, connection, id)
        memory = alerts.memories(connection, alert.vertical).get(alert.rule, Memory())
        sent = deliveries.of_alert(connection, alert.id) if request.app.state.access.administers(request) else None
    rule = _rule(request, alert)
    known = None if sent is None else [_delivery(one, language) for one in sent]
    about = {"title": messages.title(alert.monitor, language), "shown": messages.shown(alert.monitor, alert.value)}
    advice = messages.todo(alert.monitor, rule, memory, language)
    return AlertDetails(**_info(alert, language).model_dump(), **about, advice=advice, deliveries=known)


@resource.post("/v1/alerts/{id}/acknowledge", scope="feedback", responses=problems.documented(409))
def acknowledge_alert(id: str, body: Verdict, request: Request) -> AlertInfo:
    """Say that somebody looks after an open alert. If it is resolved later, it counts as right."""
    return _decide(request, id, "acknowledged", body.comment)


@resource.post("/v1/alerts/{id}/false", scope="feedback", responses=problems.documented(409))
def call_alert_false(id: str, body: Verdict, request: Request) -> AlertInfo:
    """Say that an alert was false. The weight of its rule falls, so that its next alert needs more successive windows."""
    return _decide(request, id, "false", body.comment)


@resource.get("/v1/silences", scope="predict")
def list_silences(request: Request) -> list[SilenceInfo]:
    """List the silences that have not ended, newest first."""
    with database_of(request).reading() as connection:
        found = alerts.silences(connection, visible(request, connection))
    return [SilenceInfo(**asdict(one)) for one in found]


@resource.post("/v1/silences", scope="admin", status_code=201, responses=problems.documented(404))
def add_silence(body: SilenceRequest, request: Request) -> SilenceInfo:
    """Let nobody be told of alerts for some hours. Alerts are still raised and listed; those that last are told afterwards."""
    if body.vertical is not None and body.rule is not None:
        names = [rule.name for rule in watch_of(request, body.vertical).rules_in_force]
        if body.rule not in names:
            raise UnknownName("rule", body.rule, names)
    elif body.rule is not None:
        raise NotFound("The silence names a rule but no vertical; expected both. Send the vertical too.")
    elif body.vertical is not None and body.vertical not in read_live(request.app.state.service.home).models:
        raise NotFound(f"There is no vertical '{body.vertical[:80]}'. List them with GET /v1/verticals.")
    until = format_time(datetime.now(UTC) + timedelta(hours=body.hours))
    silence = Silence(body.vertical, body.rule, until, actor_of(request), body.reason)
    with database_of(request).writing() as connection:
        alerts.add_silence(connection, silence)
        note(connection, silence.actor, "silence", f"silence {silence.id}", {"vertical": body.vertical, "rule": body.rule, "until": until})
    return SilenceInfo(**asdict(silence))


@resource.delete("/v1/silences/{id}", scope="admin", status_code=204)
def end_silence(id: str, request: Request) -> None:
    """End a silence."""
    with database_of(request).writing() as connection:
        found = alerts.get_silence(connection, id)
        alerts.remove_silence(connection, found.id)
        note(connection, actor_of(request), "end silence", f"silence {found.id}", {})


@resource.get("/v1/verticals/{vertical}/rules", scope="predict")
def list_rules(vertical: str, request: Request, language: In = "en") -> list[RuleInfo]:
    """List the rules of a vertical, with how much each is believed and why; none if it has no live model."""
    with database_of(request).reading() as connection:
        require_visible(request, connection, vertical)
        known = alerts.memories(connection, vertical)
    found = []
    for rule in rules_of(request, vertical):
        memory = known.get(rule.name, Memory())
        about = {name: getattr(rule, name) for name in ("name", "monitors", "severity", "after", "calm", "cool_down")}
        advice = messages.advice(rule, memory, language)
        found.append(RuleInfo(**about, weight=memory.weight, windows=rules.needed(rule, memory), advice=advice))
    return found


def _rule(request: Request, alert: Alert) -> Rule:
    """Return the rule of an alert; one of the same name if it is not in force any more, or if the vertical has no live model."""
    return next((one for one in rules_of(request, alert.vertical) if one.name == alert.rule), Rule(name=alert.rule))


def _decide(request: Request, id: str, state: Literal["acknowledged", "false"], comment: str) -> AlertInfo:
    with database_of(request).writing() as connection:
        alert = _alert(request, connection, id)
        request.app.state.access.authorize(request, "feedback", [alert.vertical])
        decide(connection, alert, state, actor_of(request), comment)
        return _info(alerts.get(connection, alert.id))


def _alert(request: Request, connection: Any, id: str) -> Alert:
    """Return an alert; raise NotFound if there is none, or if the request may not see it."""
    alert = alerts.get(connection, id)
    names = visible(request, connection, alert.vertical)
    if names is not None and alert.vertical not in names:
        raise NotFound(f"There is no alert with the id '{id[:80]}'. List the alerts with GET /v1/alerts.")
    return alert


def _info(alert: Alert, language: Language = "en") -> AlertInfo:
    comment = None if alert.comment is None else written(alert.comment, language)
    said = {"why": written(alert.why, language), "evidence": titled(alert.evidence, language), "comment": comment}
    return AlertInfo(**{**_chosen(alert, AlertInfo), **said})


def _delivery(one: Delivery, language: Language) -> DeliveryInfo:
    return DeliveryInfo(**{**_chosen(one, DeliveryInfo), "error": None if one.error is None else written(one.error, language)})


def _chosen(value: Any, model: type[BaseModel]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in model.model_fields}
