"""Errors as problem+json (RFC 9457), with the same text as on the command line; knows nothing of resources."""

from __future__ import annotations

import http
import logging
import math
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
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


def answer(scope: Scope, error: Exception, routes: Sequence[BaseRoute]) -> Response:
    """The response that any error is; one that nobody foresaw is logged."""
    if isinstance(error, VertuneError):
        return of(error)
    if isinstance(error, ValidationError):
        return invalid(error)
    if isinstance(error, HTTPException):
        return _unrouted(scope, error, routes)
    _log.error("%s %r failed", scope["method"], scope["path"], exc_info=error)
    return response(500, "ModelError", "The server failed at this request; its log says why. Please report it.")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of these statuses."""
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": http.HTTPStatus(status).phrase, "content": content} for status in statuses}


def _unrouted(scope: Scope, error: HTTPException, routes: Sequence[BaseRoute]) -> Response:
    """The response where no route takes a request; the methods that are named are those of all routes at its path."""
    path, status = scope["path"], error.status_code
    phrase = http.HTTPStatus(status).phrase
    if status != 405:
        return response(status, phrase, f"There is nothing at {path}. See /docs." if status == 404 else phrase, dict(error.headers or {}))
    matching = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
    allowed = sorted({method for route in matching for method in getattr(route, "methods", None) or ()})
    return response(status, phrase, f"{path} does not take {scope['method']}.", {"Allow": ", ".join(allowed)})
