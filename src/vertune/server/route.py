"""How a request enters: its body, read under limits, and handed to an endpoint; knows no resource.

FastAPI documents these routes from the endpoints' signatures, and Starlette serves them: FastAPI's machinery takes longer than all
else that happens to a short text on its way in, so the signature is read here, once, and plainly: parameters of the path, one
body, the request.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from vertune.core.errors import DataError

JSON = "application/json"
_PLAIN = {"content-encoding": "identity", "transfer-encoding": "chunked"}
"""What these headers may say of a body."""


class TooLarge(DataError):
    """More than a request may hold."""

    http_status = 413


class Unreadable(DataError):
    """A body in another form than JSON."""

    http_status = 415


def json(content: Any, status: int = 200) -> Response:
    """A JSON response; numbers that JSON has not become null."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type=JSON)


class Plain(APIRoute):
    """A route as FastAPI documents it, whose endpoint gets what its signature names, and gives a response."""

    def plain(self) -> Route:
        """The same route as it is served, its body validated by its model."""
        endpoint: Any = self.endpoint
        hints = typing.get_type_hints(endpoint)
        names = [name for name in inspect.signature(endpoint).parameters if name not in ("request", "body")]
        model: type[BaseModel] | None = hints.get("body")

        async def handle(request: Request) -> Response:
            given: dict[str, Any] = {name: request.path_params[name] for name in names}
            if model is not None:
                request.app.state.access.key(request)  # the body of who may not ask is not even read
                given["body"] = model.model_validate_json(await read(request, request.app.state.limits.body))
            response: Response = await endpoint(request=request, **given)
            return response

        return Route(self.path, _Endpoint(handle), methods=sorted(self.methods or ()))


class _Endpoint:
    """A handler as an application, whose errors are answered where those of all are."""

    def __init__(self, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        response = await self._handle(Request(scope, receive, send))
        await response(scope, receive, send)


async def read(request: Request, limit: int) -> bytes:
    """The body of a request; TooLarge as soon as it is, Unreadable where it is not JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:  # a page of another site may send what has no type, and nothing that says it is JSON
        raise Unreadable(f"Expected a body of type {JSON}; got {kind[:80] or 'none'}. Say so: Content-Type: {JSON}")
    for header, plain in _PLAIN.items():
        if (coded := request.headers.get(header, plain).strip().lower()) != plain:
            raise Unreadable(f"A body is read as it comes; this one has the {header} '{coded[:80]}'. Send it without.")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limit:
        raise TooLarge(f"A request holds at most {limit} bytes; this one has {said}. Send it in parts.")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"A request holds at most {limit} bytes; this one has more. Send it in parts.")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise DataError("The request ended before its body did.") from error
    return b"".join(chunks)
