"""Routes that declare a required permission and check it before the body is read; does not depend on any single resource.

A resource is a module with a group of FastAPI endpoints and a variable `resource` of the type Resource. The module is a file in
`server/resources/`, or is named by an entry point of another package, in the group `vertune.resources`.

A few endpoints are called thousands of times per second; they are added by `Resource.direct_post`. FastAPI documents these
endpoints like all others, but does not parse their requests. For a short text, this parsing would take longer than everything else
that is done before the text is queued.
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

from vertune.core.errors import NotFound
from vertune.server import problems
from vertune.server.body import JSONResponse, check_headers, check_json, limited, read_json, repeated
from vertune.store.key import Scope as KeyScope

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class ScopedRoute(APIRoute):
    """A FastAPI route that calls its endpoint only if the API key has the required scope (permission) and the body is not too large.

    If the path has a parameter `{vertical}` or `{app}`, the key must have the permission for the model or the app that is served under
    this name. The OpenAPI document lists the error responses that the route can send.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], *, scope: KeyScope | None, max_body: int | None = None, **options: Any):
        """`scope` is the permission that the API key of a request needs; None means that no key is needed.

        `max_body` is the maximum size of a request body in bytes; None uses the limit of the server. `options` are those of FastAPI.
        """
        super().__init__(path, endpoint, **{"response_class": JSONResponse, "operation_id": endpoint.__name__, **options})
        self.required_scope = scope
        self.max_body = max_body
        self.reads_json = self.body_field is not None and not isinstance(self.body_field.field_info, Form)
        self.responses = {**problems.documented(*self._statuses()), **self.responses}
        self.app = self._guarded()

    def _guarded(self) -> ASGIApp:
        """Return an ASGI application that first checks the API key, the headers and the body size, and then calls the endpoint."""
        served = AsyncExitStackMiddleware(self.app)  # closes uploaded files

        async def guard(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope)
            self._authorize(request)
            limit = self.max_body or request.app.state.limits.body
            if self.reads_json:
                content = await read_json(Request(scope, receive), limit)
                if content:  # an endpoint may accept an empty body
                    check_json(content, bounded=True)
                await served(scope, repeated(content, receive), send)
            else:
                check_headers(request, limit, json=False)
                await served(scope, limited(receive, limit), send)

        return guard

    def _authorize(self, request: Request) -> None:
        parameters = request.scope["path_params"]
        name = parameters.get("vertical", parameters.get("app"))
        request.app.state.access.authorize(request, self.required_scope, () if name is None else (name,))
        if any("\0" in value for value in parameters.values() if isinstance(value, str)):  # which PostgreSQL can't compare with a text
            raise NotFound("There is nothing at this address: it contains the character 0 (%00), which no name has. Correct the address.")

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
    """A route whose requests FastAPI does not parse, to save time.

    Its endpoint is called with the parameters of the path, the `request`, and the `body`, validated by the pydantic model that is the
    type annotation of `body`.
    """

    def _guarded(self) -> ASGIApp:
        endpoint: Any = self.endpoint
        model: type[BaseModel] = typing.get_type_hints(endpoint)["body"]
        names = [name for name in inspect.signature(endpoint).parameters if name not in ("request", "body")]

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            self._authorize(request)
            content = await read_json(request, self.max_body or request.app.state.limits.body)
            check_json(content)
            values = {name: scope["path_params"][name] for name in names}
            response: Response = await endpoint(request=request, body=model.model_validate_json(content, strict=True), **values)
            await response(scope, receive, send)

        return serve


class Resource:
    """The routes of one resource (a group of endpoints), and the tag under which the OpenAPI document lists them.

    Methods such as `get` return a decorator for the function of an endpoint. Their `scope` is the permission that an API key needs;
    None means that no key is needed. Their `options` are those of a FastAPI route.
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

    def options(self, path: str, *, scope: KeyScope | None, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator that adds an endpoint for OPTIONS requests, which browsers send before those of pages of other origins."""
        return self._adding("OPTIONS", path, ScopedRoute, {"scope": scope, **options})

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
    """Return whether an endpoint has a parameter outside the request body whose value can be invalid.

    These are all query, header and cookie parameters, and path parameters of other types than str. The parameters of FastAPI
    dependencies of the endpoint are included.
    """
    taken = dependant.query_params or dependant.header_params or dependant.cookie_params
    typed = [field for field in dependant.path_params if field.field_info.annotation is not str]
    return bool(taken or typed) or any(map(_takes_values, dependant.dependencies))
