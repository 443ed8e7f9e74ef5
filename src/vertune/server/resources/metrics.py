"""`/metrics`: what was counted and timed, for Prometheus; knows nothing of what that is."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from vertune.core.errors import AccessError
from vertune.server.resource import Resource

resource = Resource("running")


@resource.get("/metrics", scope="predict", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Counts and times in the text format of Prometheus; needs a key that is bound to no vertical."""
    state = request.app.state
    if not state.access.sees(request):
        raise AccessError(
            "The key is bound to some verticals, but metrics cover all. Ask the operator of the server for a key of all verticals."
        )
    return Response(state.service.metrics.page(), media_type=CONTENT_TYPE_LATEST)
