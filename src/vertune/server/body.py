"""Bodies of requests, read under limits, and bodies of responses as JSON; knows no route."""

from __future__ import annotations

from typing import Any

import fastapi.responses
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive

from vertune.core.errors import DataError

_JSON = "application/json"
_ALLOWED_CODINGS = {"content-encoding": "identity", "transfer-encoding": "chunked"}
"""The only values of these headers with which a body can be read as it comes."""


class TooLarge(DataError):
    """A request that holds more than the limits allow."""

    http_status = 413


class UnsupportedBody(DataError):
    """A body of a type or coding that the route does not read."""

    http_status = 415


class JSONResponse(fastapi.responses.JSONResponse):
    """A JSON response; numbers that JSON does not have, such as NaN, become null."""

    def render(self, content: Any) -> bytes:
        """The content as JSON, in UTF-8."""
        return _dumped(content)


def json_response(content: Any) -> Response:
    """A JSON response for a direct route; half the cost of `JSONResponse`."""
    return Response(_dumped(content), media_type=_JSON)


def check_headers(request: Request, limit: int, json: bool) -> None:
    """Refuse a body by its headers: UnsupportedBody for one in a coding, or not JSON where the route reads JSON; TooLarge by length."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if json and kind != _JSON:  # a page of another site can send a body without this type, and none with it
        raise UnsupportedBody(f"The body has the type '{kind[:80] or 'none'}', but this route reads {_JSON}. Set Content-Type: {_JSON}")
    for header, allowed in _ALLOWED_CODINGS.items():
        if (coding := request.headers.get(header, allowed).strip().lower()) != allowed:
            raise UnsupportedBody(f"The body has the {header} '{coding[:80]}', but bodies are read as they come. Send it without.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge(f"The body has {length} bytes; a request holds at most {limit} bytes. Send it in parts.")


def limited(receive: Receive, limit: int) -> Receive:
    """The same source of messages, which raises TooLarge when the body becomes larger than the limit."""
    size = 0

    async def receive_within_limit() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise TooLarge(f"The body is larger than allowed; a request holds at most {limit} bytes. Send it in parts.")
        return message

    return receive_within_limit


async def read_json(request: Request, limit: int) -> bytes:
    """The body of a request that must be JSON; raises as `check_headers` and `limited` do, DataError where it ends too early."""
    check_headers(request, limit, json=True)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"The body is larger than allowed; a request holds at most {limit} bytes. Send it in parts.")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise DataError("The connection ended before the body was complete. Send the request again.") from error
    return b"".join(chunks)


def _dumped(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
