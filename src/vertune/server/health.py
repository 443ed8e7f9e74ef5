"""`/health` and `/metrics`: what those ask who keep the server running; knows nothing of answers."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.errors import AccessError
from vertune.server import problems
from vertune.server.route import Plain, json

router = APIRouter(route_class=Plain, tags=["running"])
_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


class Live(BaseModel):
    """That the process answers."""

    live: bool


class Ready(BaseModel):
    """Whether the next request will be answered."""

    ready: bool
    why: str
    """Why not; empty where it is."""
    age: float | None
    """Seconds since the last batch that was computed."""
    queued: int
    """Tokens that wait."""


@router.get("/health/live", response_model=Live, operation_id="live")
async def live(request: Request) -> Response:
    """Whether the process answers; needs no key."""
    return json({"live": True})


@router.get("/health/ready", response_model=Ready, responses={503: {"model": Ready}}, operation_id="ready")
async def ready(request: Request) -> Response:
    """Whether the next request will be answered: batches were computed lately, or one is tried; needs no key."""
    service = request.app.state.service
    found, why, age = await service.ready()
    return json({"ready": found, "why": why, "age": age, "queued": service.batcher.queued}, 200 if found else 503)


@router.get("/metrics", operation_id="metrics", responses={200: _TEXT, **problems.documented(401, 403, 429, 500, 503, 507)})
async def metrics(request: Request) -> Response:
    """Counts and times in the form that Prometheus reads; needs a key."""
    state = request.app.state
    state.access.asker(request, "predict")
    if not state.access.sees(request):
        raise AccessError("The key is bound to some verticals, and these counts are of all. Ask who runs this server for one that is not.")
    return Response(state.service.measures.page(), media_type=CONTENT_TYPE_LATEST)
