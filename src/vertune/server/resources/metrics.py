"""`/metrics`: counters and histograms for Prometheus; does not depend on which metrics exist."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from vertune.core.errors import AccessError
from vertune.server.access import call_of
from vertune.server.resource import Resource
from vertune.store.key import DEFAULT_CUSTOMER

resource = Resource("running")


@resource.get("/metrics", scope="predict", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return all metrics in the text format of Prometheus, for a key of the operator that is not restricted to some models.

    They count the requests of all customers, so that a key of another customer than `default` may not read them.
    """
    state = request.app.state
    if not (state.access.administers(request) or call_of(request).customer == DEFAULT_CUSTOMER):
        raise AccessError(
            "The API key belongs to a customer, but the metrics count the requests of all. Ask the operator of the server, who creates a "
            "key for metrics without a customer: vertune key create NAME --scope predict"
        )
    if not state.access.sees(request):
        raise AccessError(
            "The API key is restricted to some models, but the metrics cover all. Ask the operator of the server for an unrestricted key."
        )
    return Response(state.service.metrics.page(), media_type=CONTENT_TYPE_LATEST)
