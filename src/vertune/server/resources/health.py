"""`/health`: liveness and readiness of the server; does not depend on how readiness is checked."""

from __future__ import annotations

from fastapi import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from vertune.server.resource import Resource

resource = Resource("running")


class Live(BaseModel):
    """Confirms that the server process responds."""

    live: bool


class Ready(BaseModel):
    """The readiness of the server."""

    ready: bool
    """Whether the server can answer requests."""
    why: str
    """The reason if the server is not ready, else empty."""
    age: float | None
    """Seconds since the last batch was computed; null if none was computed yet."""
    queued: int
    """Number of queued tokens."""
    serving: int
    """Number of names under which a model is served."""
    pending: int
    """Number of names whose live model is not served, because it is being loaded or prepared, or is damaged."""
    unhealthy: int
    """Number of verticals whose model does not compute what it must; `GET /v1/verticals` names them and the reason."""
    storage: str
    """Why keys, requests or feedback can't be stored at the moment, for example because the disk is full; empty if they can be."""


@resource.get("/health/live", scope=None)
async def live() -> Live:
    """Return whether the server process responds; requires no key."""
    return Live(live=True)


@resource.get("/health/ready", scope=None, responses={503: {"model": Ready}})
async def ready(request: Request, response: Response) -> Ready:
    """Return whether the server can answer requests; if no batch was computed recently, compute a test prediction. Requires no key.

    The server is ready as soon as the models that need no preparation are loaded and one of them answers. Whether a certain model is
    ready is a field of `GET /v1/verticals/{vertical}`.
    """
    service = request.app.state.service
    state = await service.ready()
    storage = service.storage_trouble() or await run_in_threadpool(request.app.state.access.storage_trouble)
    response.status_code = 200 if state.ready else 503
    fleet, pending = service.answers.fleet, service.aliases.pending
    return Ready(
        ready=state.ready, why=state.why, age=state.age, queued=service.answers.batcher.queued, serving=len(fleet.deployments),
        pending=len(pending), unhealthy=state.unhealthy, storage=storage,
    )  # fmt: skip
