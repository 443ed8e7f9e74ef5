"""Turns errors into problem+json responses (RFC 9457) with the same messages as on the command line; does not depend on any endpoint.

A client that asks for Chinese by the header Accept-Language, as the console does, gets the message in Chinese.
"""

from __future__ import annotations

import http
import logging
import math
import re
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from vertune.core.error_texts import translated_part
from vertune.core.errors import AccessError, Busy, Unavailable, VertuneError
from vertune.core.sentence import Language, said, written_error
from vertune.server.access import CALL

_log = logging.getLogger("vertune")
MEDIA_TYPE = "application/problem+json"
_MAX_LISTED = 5
"""The maximum number of validation errors that a response lists."""


class Problem(BaseModel):
    """The body of an error response: what went wrong, and what to do about it."""

    title: str
    status: int
    detail: str


def response(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error response in the format problem+json (RFC 9457)."""
    body = orjson.dumps({"title": title, "status": status, "detail": detail})
    return Response(body, status, headers, MEDIA_TYPE)


def response_to(error: Exception, scope: Scope, routes: Sequence[BaseRoute]) -> Response:
    """Return the error response for an exception that ended a request; `routes` are all routes of the server.

    An unexpected exception is logged. The response then has the status 500 and a general message without the text of the exception.
    """
    if isinstance(error, HTTPException) and isinstance(error.__cause__, VertuneError):
        error = error.__cause__  # FastAPI wraps every exception that is raised while it reads a body
    language = language_of(scope)
    if isinstance(error, VertuneError):
        return _known(error, language)
    if isinstance(error, ValidationError | RequestValidationError):
        return _invalid(error, language)
    if isinstance(error, HTTPException):
        return _http(scope, error, routes)
    # the path is chosen by the client, and may contain a text
    _log.error("An unexpected exception ended the request %s; the client received status 500.", scope[CALL].id, exc_info=error)
    return _response(500, "ModelError", said("request.unexpected"), language)


def language_of(scope: Scope) -> Language:
    """Return the language that a client asks for first: Chinese, or English for any other one."""
    return "zh" if re.match(r"\s*zh\b", Headers(scope=scope).get("accept-language", ""), re.IGNORECASE) else "en"


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return entries for the OpenAPI document of an endpoint that can send error responses with these HTTP statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": http.HTTPStatus(status).phrase, "content": content} for status in statuses}


def _response(status: int, title: str, detail: str, language: Language, headers: dict[str, str] | None = None) -> Response:
    """Return an error response whose detail, a sentence or the text of an error, is written in a language."""
    named = {} if language == "en" else {"Content-Language": language}
    return response(status, title, written_error(detail, language), {**(headers or {}), **named})


def _known(error: VertuneError, language: Language) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, Busy | Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))  # whole seconds, as RFC 9110 requires
        headers["Retry-After-Ms"] = str(max(1, math.ceil(error.retry_after * 1000)))  # read by some clients, such as the one of OpenAI
    if isinstance(error, AccessError) and error.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="vertune"'
    return _response(error.http_status, type(error).__name__, str(error), language, headers)


def _invalid(error: ValidationError | RequestValidationError, language: Language) -> Response:
    """Return the response to a request that fails validation, with a list of the errors.

    The response repeats no part of the request, because requests may contain private data.
    """
    listed = [f"{_location(one) or 'body'}: {translated_part(one['msg'], language)}" for one in error.errors()[:_MAX_LISTED]]
    return _response(422, "DataError", said("request.invalid", errors="; ".join(listed)), language)


def _location(error: Any) -> str:
    """Return the path of the field that has a validation error, such as `texts.0`.

    If the field is unknown, its name is left out, because it is part of the request and may be private.
    """
    location = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
    return ".".join(map(str, location))


def _http(scope: Scope, error: HTTPException, routes: Sequence[BaseRoute]) -> Response:
    """Return the error response for an HTTPException of Starlette or FastAPI.

    Such an exception means that no route has the path or method of the request, or that its body can't be parsed; an endpoint may
    raise it for other reasons.
    """
    path, status, language = scope["path"], error.status_code, language_of(scope)
    phrase = http.HTTPStatus(status).phrase
    if status == 400 and error.__cause__ is not None:
        return _response(422, "DataError", said("request.unparsed"), language)
    if status == 405:
        matching = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
        methods = {method for route in matching for method in getattr(route, "methods", None) or ()}
        allowed = sorted(methods | ({"HEAD"} if "GET" in methods else set()))
        refusal = said("request.method", path=path, method=scope["method"], allowed=", ".join(allowed))
        return _response(status, phrase, refusal, language, {"Allow": ", ".join(allowed)})
    detail = said("request.no_endpoint", path=path) if status == 404 and error.detail == phrase else str(error.detail)
    return _response(status, phrase, detail, language, dict(error.headers or {}))
