"""`/v1/retrainings`: begins trainings of verticals on what was learnt since, and tells how far each has come; trains nothing itself."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.requests import Request

from vertune.core.artifact import Artifact
from vertune.core.errors import ConfigError, Conflict, DataError, NotFound
from vertune.core.ids import first_id_at, time_of
from vertune.core.sentence import Language, written
from vertune.runtime.live import read_live
from vertune.server import problems
from vertune.server.access import call_of
from vertune.server.feedback import Short
from vertune.server.job_requests import check_rows
from vertune.server.resource import Resource
from vertune.server.stored import In, Readable, actor_of, database_of
from vertune.server.watched import visible
from vertune.steps.watch import NAME, begin, reasons
from vertune.store import audit, leases, retrainings
from vertune.store.retrainings import Retraining

resource = Resource("monitoring")
_MOVED = "retrain: "
"""What the audit calls a move to another stage, with its name behind it."""


class RetrainingInfo(BaseModel):
    """One training of a vertical on what it learnt since."""

    id: str
    vertical: str
    at: str
    stage: retrainings.Stage
    reason: str | None
    """Why it began: labels, time, drift, or person."""
    job: str | None
    dataset: str | None
    model: str | None
    report: str | None
    why: str | None
    """Why it ended, or what it waits for."""
    labels: int | None
    """How many new labels it waits for; null if it does not wait, or if labels would not decide."""
    changed: str


class RetrainingPage(BaseModel):
    """Some retrainings, newest first."""

    retrainings: list[RetrainingInfo]
    next: str | None
    """The value for `before` to get older ones; null if there are none."""


class StageInfo(BaseModel):
    """A stage that a retraining reached."""

    stage: str
    at: str
    """When, in UTC."""


class RetrainingDetails(RetrainingInfo):
    """A retraining with its stages."""

    stages: list[StageInfo]
    """In the order in which it reached them."""
    given: int | None
    """How many new labels have come, if it waits for some."""


class RetrainingQuery(BaseModel):
    """Which retrainings are asked for."""

    model_config = ConfigDict(extra="forbid")

    vertical: Short | None = None
    before: Annotated[str | None, Field(max_length=32, pattern=r"^[0-9a-f]*$")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    language: Language = "en"
    """The language of the sentences."""


class RetrainingRequest(BaseModel):
    """Which vertical is to be trained again, and on what."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"vertical": "support", "on": [{"feedback": "support"}]}]})

    vertical: Short
    on: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=20)] | None = None
    """The sources of new rows, as in a job of the kind `retrain`; null takes the feedback on the vertical, and the labels of the labelling
    project with its name."""


@resource.post("/v1/retrainings", scope="train", status_code=201, responses=problems.documented(404, 409))
def begin_retraining(body: RetrainingRequest, request: Request) -> RetrainingInfo:
    """Begin to train a vertical again. What watches the verticals leads it on: training, gate, shadow and so on, as its options say.

    A retraining that only waits for labels is replaced. A job of the kind `retrain` makes a candidate alone, and moves nothing.
    """
    access, database = request.app.state.access, database_of(request)
    access.authorize(request, "train", [body.vertical])
    live = _live(request, body.vertical)
    check_rows(body.vertical, live, request.app.state.service.home, None if access.administers(request) else call_of(request).customer)
    if (quotas := request.app.state.service.quotas) is not None:
        quotas.check_jobs(call_of(request).customer, body.vertical)
    may = Readable(request)
    given = None if body.on is None else request.app.state.service.sources.new_rows(body.on, may.upload, may.customer)
    with database.writing() as connection:
        if not leases.is_held(connection, NAME):
            raise ConfigError(
                "No process watches the verticals, so nothing would lead this retraining on. Start one: vertune serve --watch FILE, or "
                "vertune watch"
            )
        on = given or _learnt(connection, body.vertical, live)
        begun = begin(connection, body.vertical, {"reason": "person", "on": on}, actor_of(request))
    if begun is None:
        raise Conflict(f"A retraining of '{body.vertical[:80]}' goes on already. GET /v1/retrainings shows it. Wait until it ends.")
    return _info(begun, "en")


@resource.get("/v1/retrainings", scope="predict")
def list_retrainings(request: Request, query: Annotated[RetrainingQuery, Query()]) -> RetrainingPage:
    """List trainings of verticals on what was learnt since, with how far each has come."""
    with database_of(request).reading() as connection:
        names = visible(request, connection, query.vertical)
        found = retrainings.find(connection, names, query.limit + 1, query.before)
    shown = [_info(one, query.language) for one in found[: query.limit]]
    return RetrainingPage(retrainings=shown, next=found[query.limit - 1].id if len(found) > query.limit else None)


@resource.get("/v1/retrainings/{id}", scope="predict")
def describe_retraining(id: str, request: Request, language: In = "en") -> RetrainingDetails:
    """Describe a retraining, with the stages that it reached and when."""
    live = read_live(request.app.state.service.home).models
    with database_of(request).reading() as connection:
        one = retrainings.get(connection, id)
        names = visible(request, connection, one.vertical)
        if names is not None and one.vertical not in names:
            raise NotFound(f"There is no retraining with the id '{id[:80]}'. List them with GET /v1/retrainings.")
        moves = audit.about(connection, f"retraining {one.id}", first_id_at(time_of(one.id)))
        model, info = live.get(one.vertical), _info(one, language)
        given = None
        if info.labels is not None and model is not None:
            given = reasons.labels_waited_for(connection, one, model.manifest_or_empty.get("customer"))
    stages = [StageInfo(stage="assemble", at=one.at)]
    stages += [StageInfo(stage=entry.action.removeprefix(_MOVED), at=entry.at) for entry in moves if entry.action.startswith(_MOVED)]
    return RetrainingDetails(**info.model_dump(), stages=stages, given=given)


def _live(request: Request, vertical: str) -> Artifact:
    """Return the live model of a vertical; raise NotFound if there is none, or if the request may not see it."""
    model = read_live(request.app.state.service.home).models.get(vertical)
    if model is None or not request.app.state.access.sees(request, vertical):
        raise NotFound(f"There is no vertical '{vertical[:80]}'. List them with GET /v1/verticals.")
    return model


def _learnt(connection: Connection, vertical: str, live: Artifact) -> list[dict[str, Any]]:
    """Return the sources from which a vertical learns; raise DataError if they have nothing."""
    found = reasons.sources(connection, vertical, live.manifest.get("customer"))
    if not found:
        raise DataError(
            f"There is no feedback with a right answer on '{vertical[:80]}', and no label in a project with its name. Give some, or send "
            'sources of new rows, such as {"on": [{"dataset": ID}]}.'
        )
    return found


def _info(one: Retraining, language: Language) -> RetrainingInfo:
    about = {name: getattr(one, name) for name in RetrainingInfo.model_fields if name not in ("reason", "why", "labels")}
    wait = (one.request.get("wait") or {}) if one.stage == retrainings.WAITING else {}
    why = None if one.why is None else written(one.why, language)
    return RetrainingInfo(**about, reason=one.request.get("reason"), why=why, labels=wait.get("labels"))
