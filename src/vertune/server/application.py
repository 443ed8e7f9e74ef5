"""The ASGI application: routes requests, adds security headers and turns errors into problem+json; does not depend on sockets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from fastapi.openapi.utils import get_openapi
from starlette.requests import ClientDisconnect
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from vertune import __version__
from vertune.answering.call import Call
from vertune.core.errors import Busy
from vertune.server import cross_origin, problems
from vertune.server.access import CALL, ORIGIN, Access
from vertune.server.cookies import SESSION, TOKEN
from vertune.server.discovery import find_routes
from vertune.server.logs import trace_of
from vertune.server.resource import ScopedRoute
from vertune.server.service import Service
from vertune.server.settings import RequestLimits
from vertune.store.keys import Keys

_log = logging.getLogger("vertune")
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Headers added to every response that does not set them itself."""


@dataclass(frozen=True, slots=True)
class State:
    """The objects that endpoints can access as `request.app.state`."""

    service: Service
    access: Access
    limits: RequestLimits
    document: Callable[[], bytes]
    """Returns the OpenAPI document as JSON; it is safe to call from many threads."""


class _SendError(Exception):
    """Raised when a response can't be sent, because its connection is closed."""


class Application:
    """The ASGI application of the server: routes each request to its endpoint, and stores data and times of the request in a Call.

    The Call is finished when the response begins. This class is used instead of Starlette's application class, which adds three
    layers of middleware; for a short request, each of them takes as long as the endpoint.
    """

    def __init__(self, routes: Sequence[ScopedRoute], state: State) -> None:
        self.state = state
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route one request and send its response."""
        service = self.state.service
        trace, parent = trace_of(scope["headers"])
        call, responding = Call(service.listeners, trace=trace, parent=parent), False

        async def send_with_headers(message: Message) -> None:
            nonlocal responding
            if message["type"] == "http.response.start":
                responding = True
                headers: list[tuple[bytes, bytes]] = message["headers"]
                names = {name for name, _ in headers}
                message["headers"] = [*headers, *(header for header in HEADERS if header[0] not in names)]
                message["headers"].append((b"x-request-id", call.id.encode()))
                if ORIGIN in routed:
                    message["headers"] += cross_origin.headers(routed[ORIGIN])
                if call.warning:
                    message["headers"].append((b"x-quota-warning", call.warning.encode("latin-1")))
                call.finish(message["status"])
            try:
                await send(message)
            except Exception as error:
                raise _SendError from error

        routed = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope  # uvicorn omits the body of the response
        routed["app"], routed[CALL] = self, call
        try:
            if service.draining and not scope["path"].startswith("/health"):
                call.refusal = "stopping"
                raise Busy("This server is stopping. Send the request to another server, or retry in 1 s.", 1.0)
            await self._router(routed, receive, send_with_headers)
        except _SendError as error:
            about = type(error.__cause__).__name__
            _log.info("The client of the request %s closed its connection before the response was sent: %s", call.id, about)
        except Exception as error:
            if responding and isinstance(error, ClientDisconnect):
                _log.info("The client of the request %s closed its connection before the response was sent.", call.id)
            elif responding:
                raise
            else:
                await problems.response_to(error, scope, self._router.routes)(scope, receive, send_with_headers)


def build(service: Service, keys: Keys | None) -> Application:
    """Return the ASGI application that serves the models of `service`, with the endpoints of all resources (groups of endpoints).

    `keys` is the database of API keys; if it is None, requests need no key.
    """
    routes, settings = find_routes(), service.settings
    sessions = None if service.people is None else service.people.sessions
    access = Access(keys, settings.rate, settings.open_scope, service.quotas, sessions=sessions, secure=settings.secure)
    return Application(routes, State(service, access, settings.limits, _document(routes, settings.open)))


def _document(routes: Sequence[ScopedRoute], open: bool) -> Callable[[], bytes]:
    """Return a function that writes the OpenAPI document when it is first called, because that takes longer than to start without it."""
    lock = threading.Lock()

    @cache
    def written() -> bytes:
        return orjson.dumps(openapi_document(routes, open))

    def document() -> bytes:
        with lock:
            return written()

    return document


def openapi_document(routes: Sequence[ScopedRoute], open: bool) -> dict[str, Any]:
    """Return the OpenAPI document that describes these routes.

    If `open` is set, the server requires no API keys, and the document does not mention them.
    """
    about = "Predictions of verticals (fine-tuned models). Error responses are problem+json (RFC 9457)."
    document = get_openapi(title="vertune", version=__version__, routes=routes, description=about)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = problems.Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if not open:
        about = f"A signed-in browser (POST /v1/session). What changes something needs the header {TOKEN}, too."
        document["components"]["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "vt_…"},
            "session": {"type": "apiKey", "in": "cookie", "name": SESSION, "description": about},
        }
    for route in routes:
        for method in (route.methods or ()) if route.include_in_schema else ():
            operation = document["paths"][route.path_format][method.lower()]
            if 422 not in route.responses:
                operation["responses"].pop("422", None)  # added by FastAPI for every path parameter, but any text is valid here
            if not open:
                operation["security"] = [] if route.required_scope is None else [{"key": [route.required_scope]}, {"session": []}]
    return document
