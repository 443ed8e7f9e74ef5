"""`/v1/jobs`: takes, lists, follows, cancels and deletes jobs; does not depend on how they are run."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import FileResponse, StreamingResponse

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import Busy, NotFound
from vertune.core.ids import time_ordered_id
from vertune.core.regular import is_present, regular_file
from vertune.core.sentence import Language, written
from vertune.server import problems
from vertune.server.access import call_of
from vertune.server.job_requests import JobRequest, check_priority, check_rows, check_test_rows, work
from vertune.server.resource import Resource
from vertune.server.service import Service
from vertune.server.stored import In, Readable, actor_of, customer_of, database_of, jobs_of
from vertune.store import jobs, outputs
from vertune.store.database import Database, format_time
from vertune.store.jobs import Job, Kind, State
from vertune.store.outputs import OUTPUTS
from vertune.store.traffic import fingerprint_key, idempotency_hash

resource = Resource("jobs")
_FOLLOWING = 0.5
"""Seconds between two looks for new events of a job that is followed."""
_FILES = {"report.html": "text/html", "metrics.json": "application/json", "report.json": "application/json", "README.md": "text/markdown"}
"""The files of what a job made that can be read, with their media types."""
PAGE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""The Content-Security-Policy of a report: it shows its own styles and pictures, runs nothing, and belongs to no origin."""
Idempotency = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="A repeated request with the same key starts one job."),
]


class JobInfo(BaseModel):
    """Work for which a request does not wait."""

    id: str
    at: str
    """When it was asked for, in UTC."""
    kind: Kind
    vertical: str
    priority: int
    state: State
    attempts: int
    """How often a worker took it: more than once if a worker died."""
    started: str | None
    ended: str | None
    result: dict[str, Any] | None
    """The ids of what it made, and its metrics."""
    why: str | None
    """Why it failed."""


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobInfo]
    next: str | None
    """The value for `before` to get older ones; null if there are none."""


class JobEvents(BaseModel):
    """What happened in a job, in order."""

    state: State
    events: list[dict[str, Any]]
    last: int
    """The value for `after` to get what follows."""


class JobQuery(BaseModel):
    """Which jobs are asked for."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    before: Annotated[str | None, Field(max_length=32, pattern=r"^[0-9a-f]*$")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    language: Language = "en"
    """The language of the reasons."""


@resource.post("/v1/jobs", scope="train", status_code=201, responses=problems.documented(404, 409))
def start_job(body: JobRequest, request: Request, response: Response, idempotency_key: Idempotency = None) -> JobInfo:
    """Put a job into the queue. Status 200 means that the same request started it before."""
    return start(request, response, body, idempotency_key)


def start(request: Request, response: Response, body: JobRequest, idempotency_key: str | None = None) -> JobInfo:
    """Put a job into the queue, and set the status of the response to 200 if the same request started it before."""
    database, access, call = database_of(request), request.app.state.access, call_of(request)
    check_priority(body, access.administers(request))
    id = time_ordered_id()
    vertical, wanted = _work(body, request, id)
    access.authorize(request, "train", [vertical])
    digest = hashlib.sha256(orjson.dumps(body.model_dump(), option=orjson.OPT_SORT_KEYS)).digest()
    row = {
        "id": id, "at": format_time(datetime.now(UTC)), "customer": call.customer, "key": call.key, "kind": body.kind, "vertical": vertical,
        "request": wanted, "priority": body.priority,
        "idempotency": idempotency_hash(idempotency_key, fingerprint_key(database)), "digest": digest,
    }  # fmt: skip
    job, new = jobs.repeated(database, row, idempotency_key), False
    if job is None:  # a repeated request starts nothing, so no limit refuses it
        _check_limits(request, vertical)
        job, new = jobs.add(database, row, idempotency_key)
    response.status_code = 201 if new else 200
    return info(job)


def _check_limits(request: Request, vertical: str) -> None:
    """Raise Busy if the customer has started as many jobs as it may in this month, or has too many that have not ended."""
    customer, most = call_of(request).customer, jobs_of(request).settings.per_customer
    if (quotas := request.app.state.service.quotas) is not None:
        quotas.check_jobs(customer, vertical)
    with database_of(request).reading() as connection:
        if jobs.count(connection, customer) >= most:
            raise Busy(
                f"{most} jobs are queued or running, which is the maximum. Wait for some, or cancel some.", 30.0, over_limit=True
            )  # fmt: skip


def _work(body: JobRequest, request: Request, id: str) -> tuple[str, dict[str, Any]]:
    """Return the vertical that a job is about, and what its process reads."""
    service, runner, may = request.app.state.service, jobs_of(request), Readable(request)
    if body.config is not None:
        config = service.sources.config(body.config, may.upload, may.customer)
        return config.name, {"config": work(config, runner.threads), "accept": body.accept}
    model = _model(request, str(body.model))
    vertical = str(model.manifest["name"])
    if body.on is not None:
        check_rows(str(body.model), model, service.home, customer_of(request))
        return vertical, {"vertical": vertical, "on": service.sources.new_rows(body.on, may.upload, may.customer), "how": "auto"}
    if body.kind == "evaluate" and body.dataset is None:
        check_test_rows(model, customer_of(request))
    wanted: dict[str, Any] = {"model": model.id, "accept": body.accept}
    wanted |= {} if body.dataset is None else {"file": str(may.upload(body.dataset))}
    wanted |= {"output": str(runner.home / OUTPUTS / f"{id}.jsonl")} if body.kind == "predict" else {}
    return vertical, wanted


def _model(request: Request, name: str) -> Artifact:
    """Return the live model of a vertical, or the model with an id; raise NotFound if the API key may see none that is called so."""
    home: Home = request.app.state.service.home
    model = home.find("models", home.aliases().get(f"{name}@live", name))
    if model is None or not request.app.state.access.sees(request, str(model.manifest_or_empty.get("name"))):
        raise NotFound(f"There is no model '{name[:80]}'. Send the name of a vertical that is live, or the id of a model.")
    return model


@resource.get("/v1/jobs", scope="train")
def list_jobs(request: Request, query: Annotated[JobQuery, Query()]) -> JobPage:
    """List the jobs of the customer that owns the API key; with the permission `admin`, those of all customers."""
    wanted = jobs.Filter(customer_of(request), request.app.state.access.verticals(request), query.state, query.before)
    with database_of(request).reading() as connection:
        found = jobs.find(connection, wanted, query.limit + 1)
    shown = [info(one, query.language) for one in found[: query.limit]]
    return JobPage(jobs=shown, next=found[query.limit - 1].id if len(found) > query.limit else None)


@resource.get("/v1/jobs/{id}", scope="train")
def describe_job(id: str, request: Request, language: In = "en") -> JobInfo:
    """Describe a job."""
    return info(_job(request, id), language)


@resource.get("/v1/jobs/{id}/events", scope="train")
def list_events(id: str, request: Request, after: Annotated[int, Query(ge=0, le=1_000_000)] = 0) -> JobEvents:
    """List what happened in a job, at most 1,000 events at a time."""
    job = _job(request, id)
    with database_of(request).reading() as connection:
        found = jobs.events(connection, job.id, after)
    return JobEvents(state=job.state, events=[event for _, event in found], last=found[-1][0] if found else after)


@resource.get("/v1/jobs/{id}/stream", scope="train", response_class=StreamingResponse)
def follow_job(
    id: str, request: Request, language: In = "en", last_event_id: Annotated[int | None, Header(ge=0, le=1_000_000)] = None
) -> StreamingResponse:  # fmt: skip
    """Send what happens in a job as server-sent events until it ends; the last one, `state`, is the job itself.

    The header `Last-Event-ID` of a client that connects again says after which event to go on.
    """
    job = _job(request, id)
    stream = _stream(request.app.state.service, job, last_event_id or 0, language)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _stream(service: Service, job: Job, after: int, language: Language) -> AsyncIterator[bytes]:
    """Yield what happens in a job until it ends, or the server stops; the client then asks another server for what follows."""
    quiet, database = 0.0, service.database
    while database is not None and not service.draining:
        job, found = await asyncio.to_thread(_news, database, job, after)
        for number, event in found:
            after = number
            yield b"id: %d\nevent: progress\ndata: %s\n\n" % (number, orjson.dumps(event))
        if job.state not in ("queued", "running") and not found:
            yield b"event: state\ndata: %s\n\n" % orjson.dumps(info(job, language).model_dump())
            return
        quiet = 0.0 if found else quiet + _FOLLOWING
        if quiet >= 10:
            quiet = 0.0
            yield b": waiting\n\n"  # keeps proxies from closing the connection
        await asyncio.sleep(_FOLLOWING)


def _news(database: Database, job: Job, after: int) -> tuple[Job, list[tuple[int, dict[str, Any]]]]:
    with database.reading() as connection:
        return jobs.get(connection, job.id, jobs.Filter()), jobs.events(connection, job.id, after)


@resource.post("/v1/jobs/{id}/cancel", scope="train")
def cancel_job(id: str, request: Request) -> JobInfo:
    """Cancel a job: one that runs ends within seconds. One that has ended stays as it is."""
    job = _job(request, id)
    with database_of(request).writing() as connection:
        jobs.cancel(connection, job)
    return info(_job(request, id))


@resource.delete("/v1/jobs/{id}", scope="train", status_code=204, responses=problems.documented(409))
def delete_job(id: str, request: Request) -> None:
    """Delete a job that has ended, and the file of its predictions; what else it made stays. The audit tells it."""
    outputs.delete_job(database_of(request), request.app.state.service.home.folder, _job(request, id), actor_of(request))


@resource.get("/v1/jobs/{id}/output", scope="train", response_class=FileResponse)
def read_output(id: str, request: Request) -> FileResponse:
    """Return the rows and their predictions, in JSON Lines, that a job of the kind `predict` wrote."""
    job, folder = _job(request, id), request.app.state.service.home.folder
    name = (job.result or {}).get("output")
    if not isinstance(name, str) or not is_present(folder, OUTPUTS, name):
        raise NotFound(f"The job '{job.id}' has written no predictions. Wait until its state is 'done', if it is of the kind 'predict'.")
    return FileResponse(regular_file(folder, OUTPUTS, name), media_type="application/x-ndjson", filename=name)


@resource.get("/v1/jobs/{id}/files/{name}", scope="train", response_class=FileResponse)
def read_file(id: str, name: str, request: Request) -> FileResponse:
    """Return a file of what a job made: report.html, metrics.json, report.json or README.md, of its report, model or dataset."""
    job, home = _job(request, id), request.app.state.service.home
    for shelf in ("reports", "models", "datasets"):
        made = (job.result or {}).get(shelf[:-1])
        artifact = home.find(shelf, made) if isinstance(made, str) else None
        if artifact is not None and name in _FILES and is_present(artifact.folder, name):
            headers = {"Content-Security-Policy": PAGE_POLICY} if name.endswith(".html") else {}
            return FileResponse(regular_file(artifact.folder, name), media_type=_FILES[name], headers=headers)
    raise NotFound(f"The job '{job.id}' has made no file '{name[:80]}'. Choose from: {', '.join(_FILES)}, once its state is 'done'.")


def _job(request: Request, id: str) -> Job:
    wanted = jobs.Filter(customer_of(request), request.app.state.access.verticals(request))
    with database_of(request).reading() as connection:
        return jobs.get(connection, id, wanted)


def info(job: Job, language: Language = "en") -> JobInfo:
    """Return a job as clients see it."""
    about = {name: value for name, value in asdict(job).items() if name in JobInfo.model_fields}
    return JobInfo(**{**about, "why": None if job.why is None else written(job.why, language)})
