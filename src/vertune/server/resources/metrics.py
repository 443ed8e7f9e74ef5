"""`/metrics`: counters and histograms for Prometheus; does not depend on which metrics exist."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from vertune.core.errors import AccessError
from vertune.server.resource import Resource

resource = Resource("running")


@resource.get("/metrics", scope="predict", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return all metrics in the text format of Prometheus. The API key must not be restricted to some models."""
    state = request.app.state
    if not state.access.sees(request):
        raise AccessError(
            "The API key is restricted to some models, but the metrics cover all. Ask the operator of the server for an unrestricted key."
        )
    return Response(state.service.metrics.page(), media_type=CONTENT_TYPE_LATEST)
