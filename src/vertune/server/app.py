"""The application: resources, errors and headers put together; knows nothing of sockets."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Message, Receive, Scope, Send

from vertune import __version__
from vertune.core.errors import Busy
from vertune.server import embeddings, health, pages, predict, problems, verticals
from vertune.server.access import Access
from vertune.server.route import Plain, json
from vertune.server.service import Service
from vertune.server.settings import Limits, Settings

_log = logging.getLogger("vertune")
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Of every response."""


@dataclass(frozen=True, slots=True)
class State:
    """What the resources answer with."""

    service: Service
    access: Access
    limits: Limits


class _Unsent(Exception):
    """An answer could not be sent: its connection is closed."""


class Application:
    """Routes, with headers that every response has, errors as problems, and the count of what failed.

    Starlette's own application passes a request through three layers more, each of which takes as long as a resource does.
    """

    def __init__(self, routes: Sequence[BaseRoute], state: State) -> None:
        self.state = state
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        service, started, begun = self.state.service, time.perf_counter(), False

        async def headed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers: list[tuple[bytes, bytes]] = message["headers"]
                own = {name for name, _ in headers}
                message["headers"] = [*headers, *(pair for pair in HEADERS if pair[0] not in own)]
                if message["status"] >= 400:
                    service.measures.request("refused", message["status"], time.perf_counter() - started)
            try:
                await send(message)
            except Exception as error:
                raise _Unsent from error

        scope["app"] = self
        try:
            if service.draining and not scope["path"].startswith("/health"):
                service.measures.rejected("stopping")
                raise Busy("This server is stopping. Ask another one, or again in a moment.", 1.0)
            await self._router(scope, receive, headed)
        except _Unsent as error:
            _log.info("An answer to %s was not taken: %r", scope["path"], error.__cause__)
        except Exception as error:
            if begun:
                raise
            await problems.answer(scope, error, self._router.routes)(scope, receive, headed)


def build(service: Service, access: Access, settings: Settings) -> Application:
    """The application of a service."""
    routers = [resource.router for resource in (predict, embeddings, verticals, health)]
    routes = [route.plain() for router in routers for route in router.routes if isinstance(route, Plain)]
    document = _document(settings.open)

    async def openapi(request: Request) -> Response:
        return json(document)

    return Application([*routes, Route("/openapi.json", openapi), *pages.routes()], State(service, access, settings.limits))


def _document(open: bool) -> dict[str, Any]:
    """The OpenAPI document; FastAPI writes it from the signatures, and has no other part in the server."""
    told = FastAPI()
    for resource in (predict, embeddings, verticals, health):
        told.include_router(resource.router)
    about = "Answers of verticals that share backbones. Errors are problem+json."
    made = get_openapi(title="vertune", version=__version__, routes=told.routes, description=about)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = problems.Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if not open:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "vt_…"}}
    for path, methods in made["paths"].items():
        for operation in methods.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]  # FastAPI's own, for a path that any text fits into
            if not open:
                operation["security"] = [] if path.startswith("/health") else [{"key": []}]
    return made
