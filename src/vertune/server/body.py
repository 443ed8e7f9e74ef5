"""Reads request bodies within size limits and writes response bodies as JSON; does not depend on any route."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fastapi.responses
import orjson
import pydantic_core
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive

from vertune.answering.service import count_characters
from vertune.core.errors import DataError

_JSON = "application/json"
_ALLOWED_CODINGS = {"content-encoding": "identity", "transfer-encoding": "chunked"}
"""The only accepted values of these headers: with any other value, the body would have to be decoded."""
_MAX_OBJECTS = 100_000
"""Maximum number of objects in a body; checking the fields of more of them would block the server."""
_MAX_DIGITS = 4300
"""Maximum number of digits of an integer in a body, which is the limit of Python."""
_LEAST_INT, _GREATEST_INT = -(1 << 63), (1 << 63) - 1
"""What tables, databases and the writer of JSON can hold."""
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
"""Matches the escape sequence of one half of a character, which is valid only beside that of the other half."""
_PLAIN = re.compile(rb'\{"\w+": ?\["[ !#-\[\]-~]*"(?:, ?"[ !#-\[\]-~]*")*\]\}')
"""Matches the most frequent body, one list of texts in ASCII, which is strict JSON; recognising it takes less time than parsing it."""


class TooLarge(DataError):
    """A request is larger than the limits allow."""

    http_status = 413


class UnsupportedBody(DataError):
    """A body has a content type or encoding that the route does not accept."""

    http_status = 415


class JSONResponse(fastapi.responses.JSONResponse):
    """A JSON response; numbers that JSON can't represent, such as NaN, become null."""

    def render(self, content: Any) -> bytes:
        """Return the content as JSON in UTF-8."""
        return json_bytes(content)


def json_response(content: Any) -> Response:
    """Return a JSON response for an endpoint of a DirectRoute, whose requests FastAPI does not parse.

    This takes half as long as creating a `JSONResponse`.
    """
    return Response(json_bytes(content), media_type=_JSON)


def check_headers(request: Request, limit: int, json: bool) -> None:
    """Check the headers that describe a request body; `limit` is the maximum size of the body in bytes.

    Raises UnsupportedBody if the body is compressed or encoded in another way. If `json` is set, raises it also for a content
    type other than JSON. Raises TooLarge if the header Content-Length is above the limit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if json and kind != _JSON:  # browsers let a page of another site send a body of another type, but not of this one
        raise UnsupportedBody(
            f"The body has the content type '{kind[:80] or 'none'}'; expected {_JSON}. Set the header Content-Type: {_JSON}"
        )
    for header, allowed in _ALLOWED_CODINGS.items():
        if (coding := request.headers.get(header, allowed).strip().lower()) != allowed:
            raise UnsupportedBody(
                f"The header {header} is '{coding[:80]}'; expected '{allowed}', because bodies are not decoded. Send the body uncompressed."
            )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge(f"The request body has {length} bytes; expected at most {limit} bytes. Divide it into several requests.")


def limited(receive: Receive, limit: int) -> Receive:
    """Return an ASGI `receive` function that does the same as the given one, but raises TooLarge if the body exceeds `limit` bytes."""
    size = 0

    async def receive_within_limit() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise TooLarge(f"The request body is too large; expected at most {limit} bytes. Divide it into several requests.")
        return message

    return receive_within_limit


def repeated(content: bytes, receive: Receive) -> Receive:
    """Return an ASGI `receive` function that first returns this complete body, and then what the given function returns."""
    pending = True

    async def receive_again() -> Message:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": content, "more_body": False}
        return await receive()

    return receive_again


async def read_json(request: Request, limit: int) -> bytes:
    """Return the body of a request, unparsed. It must have the content type JSON and at most `limit` bytes.

    Raises UnsupportedBody for another content type, TooLarge if the body exceeds the limit, and DataError if the connection ends
    before the body is complete.
    """
    check_headers(request, limit, json=True)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"The request body is too large; expected at most {limit} bytes. Divide it into several requests.")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise DataError("The connection ended before the body was complete. Send the request again.") from error
    return b"".join(chunks)


def check_json(content: bytes, bounded: bool = False) -> None:
    """Raise DataError if a body is not strict JSON in UTF-8, which every program reads in the same way.

    Parsers differ in how they read NaN, Infinity, numbers that are too large, fields that occur twice in an object, and lone
    surrogates (halves of characters). The message repeats no part of the body, which may be private. With `bounded`, integers must have
    at most 64 bits, because their values may be stored.
    """
    if _PLAIN.fullmatch(content):
        return
    decoder = (_BOUNDED if bounded else _DECODER) if len(content) < _MAX_OBJECTS else _decoder(_ObjectCounter().check, bounded)
    try:
        decoder.decode(content.decode())
        if _HALF_CHARACTER.search(content):
            pydantic_core.from_json(content)
    except UnicodeDecodeError as error:
        raise DataError("The body is not text in UTF-8. Convert it to UTF-8.") from error
    except RecursionError as error:
        raise DataError("The lists or objects in the body are nested too deeply. Send a flat structure, as /docs shows it.") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"The body is not valid JSON: {error.msg} ({place}). Write it with a JSON library.") from error
    except ValueError as error:
        raise DataError(_reason(error)) from error


def check_length(records: Sequence[Mapping[str, Any]], limit: int) -> None:
    """Raise TooLarge if a text in the records has more characters than `limit`."""
    for number, record in enumerate(records, 1):
        for value in record.values():
            if (size := count_characters(value)) > limit:
                raise TooLarge(f"A text of record {number} has {size} characters; at most {limit} are allowed. Shorten the text.")


def _check_object(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({name for name, _ in pairs}) < len(pairs):
        raise DataError("An object in the body has the same field twice; expected each field once. Remove one of the two.")


class _ObjectCounter:
    """Checks the objects of one body, and counts them."""

    def __init__(self) -> None:
        self.objects = 0

    def check(self, pairs: list[tuple[str, Any]]) -> None:
        """Raise DataError for a field that occurs twice, or for too many objects."""
        self.objects += 1
        if self.objects > _MAX_OBJECTS:
            raise DataError(f"The body has more than {_MAX_OBJECTS} objects; expected fewer. Divide it into several requests.")
        _check_object(pairs)


def _check_float(text: str) -> None:
    if math.isinf(float(text)):
        raise DataError("A number in the body is too large for 64 bits; expected at most 1.7e308. Send a smaller number, or null.")


def _check_int(text: str) -> None:
    if not _LEAST_INT <= int(text) <= _GREATEST_INT:
        raise DataError("An integer in the body is too large for 64 bits; expected at most 18 digits. Send it as a text in quotes.")


def _refuse_constant(name: str) -> None:
    raise DataError(f"The body contains {name}, which is not valid JSON. Send null for a missing number.")


def _decoder(check: Callable[[list[tuple[str, Any]]], None], bounded: bool) -> json.JSONDecoder:
    """Return a decoder that calls `check` with the fields of each object, and keeps no values."""
    whole = _check_int if bounded else None
    return json.JSONDecoder(object_pairs_hook=check, parse_float=_check_float, parse_int=whole, parse_constant=_refuse_constant)


_DECODER, _BOUNDED = (_decoder(_check_object, bounded) for bounded in (False, True))
"""The decoders for bodies that are too short for too many objects; making one takes as long as reading a short body."""


def _reason(error: ValueError) -> str:
    """Return the message about an error of `json`, which refuses integers with many digits, or of pydantic."""
    if "digits" in str(error):
        return f"An integer in the body has more than {_MAX_DIGITS} digits. Send a smaller number, or a text in quotes."
    if "recursion" in str(error):
        return "The lists or objects in the body are nested too deeply. Send a flat structure, as /docs shows it."
    return "A text in the body is not valid Unicode: it contains half of a character (a lone surrogate). Write it with a JSON library."


def json_bytes(content: Any) -> bytes:
    """Return a value as JSON in UTF-8; numbers that JSON can't represent, such as NaN, become null."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
