"""`/health`: whether the server runs, and whether it answers; knows nothing of answers."""

from __future__ import annotations

from fastapi import Response
from pydantic import BaseModel
from starlette.requests import Request

from vertune.server.resource import Resource

resource = Resource("running")


class Live(BaseModel):
    """Shows that the process answers."""

    live: bool


class Ready(BaseModel):
    """Whether the next request will be answered."""

    ready: bool
    why: str
    """Why not; empty where it will."""
    age: float | None
    """Seconds since the last batch was computed; null before the first one."""
    queued: int
    """Tokens that wait."""


@resource.get("/health/live", scope=None)
async def live() -> Live:
    """Whether the process answers; needs no key."""
    return Live(live=True)


@resource.get("/health/ready", scope=None, responses={503: {"model": Ready}})
async def ready(request: Request, response: Response) -> Ready:
    """Whether the next request will be answered: a batch was computed lately, or an example is answered now; needs no key."""
    service = request.app.state.service
    state = await service.ready()
    response.status_code = 200 if state.ready else 503
    return Ready(ready=state.ready, why=state.why, age=state.age, queued=service.answers.batcher.queued)
