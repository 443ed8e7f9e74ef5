"""The application: resources, errors and headers put together; knows nothing of sockets."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vertune import __version__
from vertune.core.errors import Busy
from vertune.server import embeddings, health, pages, predict, problems, verticals
from vertune.server.access import Access
from vertune.server.service import Service
from vertune.server.settings import Settings

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def build(service: Service, access: Access, settings: Settings) -> FastAPI:
    """The application of a service."""
    app = FastAPI(title="vertune", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.service, app.state.access, app.state.limits = service, access, settings.limits
    for resource in (predict, embeddings, verticals, health):
        app.include_router(resource.router)
    problems.install(app)
    pages.install(app)
    app.openapi = lambda: _document(app, settings.open)  # type: ignore[method-assign]
    app.add_middleware(_Guard, service=service)
    return app


class _Guard:
    """Headers that every response has, what is refused while the server stops, and the count of what failed."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[tuple[bytes, bytes]] = message["headers"]
                policy = [] if any(name == b"content-security-policy" for name, _ in headers) else [_POLICY]
                message["headers"] = [*headers, *_HEADERS, *policy]
                status = message["status"]
                if status >= 400:
                    self.service.measures.request("refused", status, time.perf_counter() - started)
                    if status in (429, 503):
                        self.service.measures.rejected("own" if status == 429 else "busy")
            await send(message)

        if self.service.draining and not scope["path"].startswith("/health"):
            await problems.of(Busy("This server is stopping. Ask another one, or again in a moment.", 1.0))(scope, receive, headed)
            return
        await self.app(scope, receive, headed)


def _document(app: FastAPI, open: bool) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes, description=__doc__.split(";")[0] if __doc__ else "")
        made["info"]["description"] = "Answers of verticals that share backbones. Errors are problem+json."
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = problems.Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        if not open:
            made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "vt_…"}}
            for path, methods in made["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if path.startswith("/health") else [{"key": []}]
        app.openapi_schema = made
    return app.openapi_schema
