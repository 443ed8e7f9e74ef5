"""Errors as problem+json (RFC 9457), with the same text as on the command line; knows nothing of resources."""

from __future__ import annotations

import http
import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

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
        headers["Retry-After"] = f"{max(error.retry_after, 0.05):.2f}".rstrip("0").rstrip(".")
    if isinstance(error, AccessError) and error.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="vertune"'
    return response(error.http_status, type(error).__name__, str(error), headers)


def invalid(error: ValidationError | RequestValidationError) -> Response:
    """The response to a body that has not the shape it should have; what came is not repeated, it may be private."""
    found = [f"{'.'.join(str(place) for place in one['loc']) or 'body'}: {one['msg']}" for one in error.errors()[:5]]
    return response(422, "DataError", f"The request does not have the expected shape. {'; '.join(found)}. See /docs.")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of these statuses."""
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": http.HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Have every error of an application answered as a problem."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, VertuneError)
        return of(error)

    async def misshapen(request: Request, error: Exception) -> Response:
        assert isinstance(error, ValidationError | RequestValidationError)
        return invalid(error)

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        phrase = http.HTTPStatus(error.status_code).phrase
        detail = {404: f"There is nothing at {request.url.path}. See /docs.", 405: f"{request.url.path} does not take {request.method}."}
        return response(error.status_code, phrase, detail.get(error.status_code, phrase), dict(error.headers or {}))

    async def unforeseen(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return response(500, "ModelError", "The server failed at this request; its log says why. Please report it.")

    app.add_exception_handler(VertuneError, ours)
    app.add_exception_handler(ValidationError, misshapen)
    app.add_exception_handler(RequestValidationError, misshapen)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, unforeseen)
