"""Errors as problem+json (RFC 9457), with the same text as on the command line; knows nothing of resources."""

from __future__ import annotations

import http
import logging
import math
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from vertune.core.errors import AccessError, Busy, VertuneError

_log = logging.getLogger("vertune")
MEDIA = "application/problem+json"


class Problem(BaseModel):
    """What went wrong, and what to do."""

    title: str
    status: int
    detail: str


def response(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """One problem."""
    body = orjson.dumps({"title": title, "status": status, "detail": detail})
    return Response(body, status, headers, MEDIA)


def of(error: VertuneError) -> Response:
    """The response that an error of ours is."""
    headers: dict[str, str] = {}
    if isinstance(error, Busy):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))  # whole seconds: what the RFC knows, and many clients read
        headers["Retry-After-Ms"] = str(max(1, math.ceil(error.retry_after * 1000)))  # for those who know it, such as OpenAI's
    if isinstance(error, AccessError) and error.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="vertune"'
    return response(error.http_status, type(error).__name__, str(error), headers)


def invalid(error: ValidationError) -> Response:
    """The response to a body that has not the shape it should have; what came is not repeated, it may be private."""
    found = [f"{'.'.join(map(str, _place(one))) or 'body'}: {one['msg']}" for one in error.errors()[:5]]
    return response(422, "DataError", f"The request does not have the expected shape. {'; '.join(found)}. See /docs.")


def _place(error: Any) -> tuple[str | int, ...]:
    """Where an error is; the name of a field that is not known is what came, too."""
    found: tuple[str | int, ...] = error["loc"]
    return found[:-1] if error["type"] == "extra_forbidden" else found


def unforeseen(scope: Scope, error: Exception) -> Response:
    """The response to what no error of ours stands for, which is logged."""
    _log.error("%s %r failed", scope["method"], scope["path"], exc_info=error)
    return response(500, "ModelError", "The server failed at this request; its log says why. Please report it.")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of these statuses."""
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": http.HTTPStatus(status).phrase, "content": content} for status in statuses}


def _allowed(request: Request) -> list[str]:
    """The methods of all routes at this path, where the framework names those of the first."""
    routes = [route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


def install(app: Starlette) -> None:
    """Have the errors of an application answered as problems; what is unforeseen ends at its outermost layer."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, VertuneError)
        return of(error)

    async def misshapen(request: Request, error: Exception) -> Response:
        assert isinstance(error, ValidationError)
        return invalid(error)

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        phrase = http.HTTPStatus(error.status_code).phrase
        path = request.scope["path"]
        detail = {404: f"There is nothing at {path}. See /docs.", 405: f"{path} does not take {request.method}."}
        headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else dict(error.headers or {})
        return response(error.status_code, phrase, detail.get(error.status_code, phrase), headers)

    app.add_exception_handler(VertuneError, ours)
    app.add_exception_handler(ValidationError, misshapen)
    app.add_exception_handler(HTTPException, plain)
