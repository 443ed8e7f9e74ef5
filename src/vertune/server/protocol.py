"""HTTP/1.1 connections with limits on the size of headers, the time to receive a request and the time to send a response.

uvicorn's protocol has none of these limits: a client that sends its headers byte by byte could keep a connection open for ever.
Does not depend on any endpoint.
"""

from __future__ import annotations

import asyncio
import enum
import http
import re
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vertune.server.problems import response
from vertune.server.settings import RequestLimits

_HEADERS_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*", re.IGNORECASE)
_MAX_PIPELINED = 64
"""The maximum number of requests that a connection may send before the first is answered; each uses 100 times its size in memory."""


class _Phase(enum.Enum):
    """The part of a request that a connection is receiving: headers or body; IDLE between two requests."""

    IDLE = enum.auto()
    HEADERS = enum.auto()
    BODY = enum.auto()


class LimitedProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection with limits. Its methods are called when data arrives and when the state of the connection changes."""

    limits: ClassVar[RequestLimits] = RequestLimits()
    response_headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    """Headers to add to the error responses that are sent by this class instead of the application."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.timeout_keep_alive = self.limits.idle  # type: ignore[assignment] # uvicorn's option takes whole seconds only
        self._phase = _Phase.IDLE
        self._header_size = 0
        """Number of bytes received of the request line and headers of the current request."""
        self._last_bytes = b""
        """The last 3 bytes received, which may be the beginning of the blank line that ends the headers."""
        self._framing_size = 0
        """Number of bytes received since the last piece of body: chunk extensions and trailers."""
        self._ignores_input = False
        """Whether to ignore further input, because the client sent something that is not HTTP."""
        self._request_timer: asyncio.TimerHandle | None = None
        self._response_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request of a new connection, or refuse the connection if the server has too many open."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(503, f"The server has {self.limits.connections} open connections, which is its maximum. Try again in 1 s.")
            return
        self._begin_request()

    def data_received(self, data: bytes) -> None:
        """Parse received data; refuse headers, chunk extensions or trailers that are too large."""
        if self._ignores_input:
            return
        if self._phase is _Phase.IDLE:
            self._begin_request()
        if self._phase is _Phase.HEADERS:
            if self._headers_too_large(data):
                self._refuse(431, f"The headers of the request are too large; expected at most {self.limits.header} bytes. Send less.")
                return
            data = _without_upgrade(data)
        self._framing_size += len(data)
        super().data_received(data)
        if self._phase is _Phase.BODY and self._framing_size > self.limits.header + len(data):
            self._refuse(431, f"The chunk extensions or trailers are too large; expected at most {self.limits.header} bytes.")

    def _headers_too_large(self, data: bytes) -> bool:
        self._header_size += len(data)
        received = self._last_bytes + data
        end = received.find(_HEADERS_END)
        self._last_bytes = received[-3:]
        body_size = len(received) - end if end >= 0 else 0
        return self._header_size - body_size > self.limits.header

    def on_message_begin(self) -> None:
        """Begin to receive a request.

        If `_MAX_PIPELINED` earlier requests of this connection are still waiting for a response, raises BufferError, which stops
        the parser.
        """
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise BufferError("too many requests of this connection are waiting for a response")  # ends the parser
        if self._phase is _Phase.IDLE:  # the request arrived in the same packet as the previous one
            self._begin_request()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Accept a header. Ignore a trailer (a field that follows a chunked body), because it must not be treated as a header."""
        if self._phase is _Phase.HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Record that the headers are complete and the body begins. The application, not this class, limits the size of the body."""
        super().on_headers_complete()
        self._phase, self._framing_size = _Phase.BODY, 0

    def on_body(self, body: bytes) -> None:
        """Accept a piece of the body, and restart the count of bytes received outside the body, such as chunk extensions."""
        self._framing_size = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Record that the request was received completely, and cancel the timer that limits the time to receive it."""
        self._end_request()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start a timer for the next action of the client, after a response was sent.

        If the connection is closing, it is aborted unless the client reads the response in time. If the client has already begun to
        send another request, the connection is closed unless the rest of this request arrives in time.
        """
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_response_timer()
        elif self._phase is not _Phase.IDLE and not self.pipeline:
            self._start_request_timer()

    def pause_writing(self) -> None:
        """Start a timer when the send buffer is full; it aborts the connection unless the client reads enough data in time."""
        super().pause_writing()
        self._start_response_timer()

    def resume_writing(self) -> None:
        """Cancel the timer that `pause_writing` started, because the client has read enough data."""
        super().resume_writing()
        if self._response_timer is not None and not self.transport.is_closing():
            self._response_timer.cancel()
            self._response_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long, even if the client has not read the entire last response."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Refuse input that is not valid HTTP/1.1.

        If an earlier request, which was received completely, has no response yet, the connection is closed after that response.
        Otherwise the connection is closed at once, if possible after an error response with status 400.
        """
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            self._refuse(400, "The request is not valid HTTP/1.1. Check the client.")
            return
        self._ignores_input = True
        self._end_request()
        self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers, because the connection has ended."""
        self._end_request()
        if self._response_timer is not None:
            self._response_timer.cancel()
        super().connection_lost(exc)

    def _begin_request(self) -> None:
        self._phase, self._header_size, self._last_bytes = _Phase.HEADERS, 0, b""
        if self.cycle is None or self.cycle.response_complete:
            self._start_request_timer()  # otherwise uvicorn pauses reading until the previous request is answered

    def _start_request_timer(self) -> None:
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(self.limits.reading, self._request_timed_out)

    def _end_request(self) -> None:
        self._phase = _Phase.IDLE
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _request_timed_out(self) -> None:
        self._request_timer = None
        if self._phase is _Phase.HEADERS and not self._header_size:
            self.transport.close()  # there is no request to answer
            return
        self._refuse(408, f"The request did not arrive completely; expected it within {self.limits.reading:g} s. Send it faster.")

    def _start_response_timer(self) -> None:
        if self._response_timer is None:
            self._response_timer = self.loop.call_later(self.limits.idle, self.transport.abort)

    def _refuse(self, status: int, detail: str) -> None:
        """Refuse the current request and close the connection.

        An error response with this status and text is sent first, unless an earlier request has no complete response yet or the
        response to the current request has begun.
        """
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._phase is _Phase.BODY:
            is_next = cycle is not None and cycle.more_body and not cycle.response_started
        else:
            is_next = cycle is None or cycle.response_complete
        if is_next and not self.pipeline:
            headers = {"Connection": "close", **({"Retry-After": "1"} if status == 503 else {})}
            phrase = http.HTTPStatus(status).phrase
            problem = response(status, phrase, detail, headers)
            lines = [f"HTTP/1.1 {status} {phrase}".encode()]
            lines += [b": ".join(header) for header in (*problem.raw_headers, *self.response_headers)]
            self.transport.write(b"\r\n".join(lines) + _HEADERS_END + bytes(problem.body))
        self.transport.close()
        self._start_response_timer()


def _without_upgrade(data: bytes) -> bytes:
    """Return received header bytes without the header Upgrade.

    The parser would ignore the body of a request with this header, which the HTTP client of Java sends with its first request.
    """
    if b"pgrade" not in data:
        return data
    headers, end, rest = data.partition(_HEADERS_END)
    return _UPGRADE.sub(b"", headers) + end + rest
