"""`/try/NAME`: a form for one model that pages of other sites contain, if the operator names them; does not depend on its looks."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from vertune.server.resource import Resource
from vertune.server.resources.console import policy, response_with

resource = Resource("running")


@resource.get("/try/{name}", scope=None, include_in_schema=False)
def form(name: str, request: Request) -> Response:
    """Return the page of the form. The key that it uses stands in the fragment of the address, which browsers do not send."""
    origins = request.app.state.service.settings.embed_in
    return response_with(request, "embed.html", policy(" ".join(origins) or "'none'"))
