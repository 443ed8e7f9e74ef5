"""Routes that declare a required permission and check it before the body is read; does not depend on any single resource.

A resource is a module with a `Resource` called `resource`: a file in `server/resources/`, or a module that another package names by
an entry point in the group `vertune.resources`. Its endpoints are FastAPI endpoints. `Resource.direct_post` is for the few that are
called thousands of times per second: FastAPI documents them like all others, but does not parse their requests, because that would
take longer than everything else that is done for a short text before it is queued.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from fastapi.dependencies.models import Dependant
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vertune.server import problems
from vertune.server.body import JSONResponse, check_headers, limited, read_json
from vertune.store.key import Scope as KeyScope

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class ScopedRoute(APIRoute):
    """A FastAPI route that calls its endpoint only if the API key has the required scope (permission) and the body is not too large.

    If the path has a parameter `{vertical}`, it is the name of a vertical (fine-tuned model), and the key must be allowed to use this
    vertical. OpenAPI lists the error responses that the route can send.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], *, scope: KeyScope | None, max_body: int | None = None, **options: Any):
        """`scope` is the permission that a key needs, or None if no key is needed.

        `max_body` is the maximum size of a body in bytes; None uses the limit of the server.
        """
        super().__init__(path, endpoint, **{"response_class": JSONResponse, "operation_id": endpoint.__name__, **options})
        self.required_scope = scope
        self.max_body = max_body
        self.reads_json = self.body_field is not None and not isinstance(self.body_field.field_info, Form)
        self.responses = {**problems.documented(*self._statuses()), **self.responses}
        self.app = self._guarded()

    def _guarded(self) -> ASGIApp:
        """Return the ASGI application of the route, which checks the key, the headers and the size of the body first."""
        served = AsyncExitStackMiddleware(self.app)  # closes uploaded files

        async def guard(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope)
            self._authorize(request)
            limit = self.max_body or request.app.state.limits.body
            check_headers(request, limit, json=self.reads_json)
            await served(scope, limited(receive, limit), send)

        return guard

    def _authorize(self, request: Request) -> None:
        vertical = request.scope["path_params"].get("vertical")
        request.app.state.access.authorize(request, self.required_scope, () if vertical is None else (vertical,))

    def _statuses(self) -> Iterator[int]:
        """Yield the HTTP statuses of the errors that this route can send."""
        if self.required_scope is not None:
            yield from (401, 403, 429, 500, 503, 507)
        if self.dependant.path_params:
            yield 404
        if self.body_field is not None:
            yield from (413, 415, 422)
            if not self.reads_json:
                yield 400
        elif _takes_values(self.dependant):
            yield 422


class DirectRoute(ScopedRoute):
    """A route whose requests FastAPI does not parse, to save time; its endpoint takes the path parameters, `body` and `request`."""

    def _guarded(self) -> ASGIApp:
        endpoint: Any = self.endpoint
        model: type[BaseModel] = typing.get_type_hints(endpoint)["body"]
        names = [name for name in inspect.signature(endpoint).parameters if name not in ("request", "body")]

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            self._authorize(request)
            content = await read_json(request, self.max_body or request.app.state.limits.body)
            values = {name: scope["path_params"][name] for name in names}
            response: Response = await endpoint(request=request, body=model.model_validate_json(content), **values)
            await response(scope, receive, send)

        return serve


class Resource:
    """The routes of one resource (a group of endpoints), and the tag under which OpenAPI lists them.

    The methods named after HTTP methods return decorators. Their `scope` is the permission that a key needs, None if no key is needed;
    their `options` are those of FastAPI.
    """

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.routes: list[ScopedRoute] = []

    def get(self, path: str, *, scope: KeyScope | None, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator that adds an endpoint for GET and HEAD requests."""
        return self._adding("GET", path, ScopedRoute, {"scope": scope, **options})

    def post(self, path: str, *, scope: KeyScope | None, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator that adds an endpoint for POST requests."""
        return self._adding("POST", path, ScopedRoute, {"scope": scope, **options})

    def put(self, path: str, *, scope: KeyScope | None, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator that adds an endpoint for PUT requests."""
        return self._adding("PUT", path, ScopedRoute, {"scope": scope, **options})

    def patch(self, path: str, *, scope: KeyScope | None, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator that adds an endpoint for PATCH requests."""
        return self._adding("PATCH", path, ScopedRoute, {"scope": scope, **options})

    def delete(self, path: str, *, scope: KeyScope | None, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator that adds an endpoint for DELETE requests."""
        return self._adding("DELETE", path, ScopedRoute, {"scope": scope, **options})

    def direct_post(self, path: str, *, scope: KeyScope | None, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator that adds an endpoint for POST requests that FastAPI does not parse, to save time; see DirectRoute."""
        return self._adding("POST", path, DirectRoute, {"scope": scope, **options})

    def _adding(self, method: str, path: str, kind: type[ScopedRoute], options: dict[str, Any]) -> Callable[[Endpoint], Endpoint]:
        def add(endpoint: Endpoint) -> Endpoint:
            self.routes.append(kind(path, endpoint, methods=[method], tags=[self.tag], **options))
            return endpoint

        return add


def _takes_values(dependant: Dependant) -> bool:
    """Return whether an endpoint or one of its dependencies has a parameter, outside the body, whose value can have a wrong type."""
    taken = dependant.query_params or dependant.header_params or dependant.cookie_params
    typed = [field for field in dependant.path_params if field.field_info.annotation is not str]
    return bool(taken or typed) or any(map(_takes_values, dependant.dependencies))
