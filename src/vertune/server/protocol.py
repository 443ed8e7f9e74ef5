"""HTTP/1.1 connections with limits on their number, the size of headers, and the time to receive a request and to send a response.

uvicorn's protocol has none of these limits: a client that sends its headers byte by byte could keep a connection open for ever.
Does not depend on any endpoint.
"""

from __future__ import annotations

import asyncio
import enum
import http
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from vertune.server.connections import CONNECTION, Connection, ConnectionTable
from vertune.server.problems import response
from vertune.server.repeated import RepeatedEvents
from vertune.server.settings import RequestLimits

_MAX_PIPELINED = 64
"""The maximum number of requests that a connection may send before the first is answered; each uses 100 times its size in memory."""
_EVENTS = {400: "malformed_request", 408: "slow_request", 429: "address_limit", 431: "large_headers", 503: "server_full"}
"""The kind of event that is counted for each status of a refusal."""


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
    table: ClassVar[ConnectionTable] = ConnectionTable(limits.connections, limits.connections_per_address)
    """All connections of the server."""
    events: ClassVar[RepeatedEvents] = RepeatedEvents()
    """Counts refused connections, for the log."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.timeout_keep_alive = self.limits.idle  # type: ignore[assignment] # uvicorn's option takes whole seconds only
        self.connection: Connection | None = None
        """The entry of this connection in `table`; None if it is refused, or not connected yet."""
        self._phase = _Phase.IDLE
        self._header_size = 0
        """Number of bytes of the URL and of the headers of the current request that the parser has recognised so far."""
        self._unparsed = 0
        """Number of bytes received since the parser last recognised a URL, a header or a piece of body."""
        self._received: RequestResponseCycle | None = None
        """The last request that was received completely."""
        self._repeats_headers = False
        """Whether the headers of the current request must be parsed a second time, without the header Upgrade."""
        self._ignores_input = False
        """Whether to ignore further input, because it does not begin with a valid HTTP request."""
        self._request_timer: asyncio.TimerHandle | None = None
        self._response_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request of a new connection, or refuse the connection if there are too many.

        A connection with TLS is in the table already, from before the handshake.
        """
        super().connection_made(transport)
        opened = self.connection or self.table.open(self._host, self._make_room)
        if isinstance(opened, Connection):
            opened.close = self._make_room
            self.connection = opened
            self._begin_request()
        elif opened == "address":
            limit = self.table.per_address
            self._refuse(429, f"Your address has {limit} connections without a valid API key, which is its maximum. Try again in 1 s.")
        else:
            self._refuse(503, f"The server has {self.table.maximum} open connections, which is its maximum. Try again in 1 s.")

    @property
    def _host(self) -> str | None:
        return self.client[0] if self.client else None

    def _make_room(self) -> None:
        """Close this connection, which has no valid API key, to make room for a new one."""
        if self._phase is _Phase.HEADERS and self._header_size + self._unparsed:
            self._refuse(503, "The server has too many connections and needs this one. Try again in 1 s.")
            return
        self.events.count("closed_for_room", self._host)
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse received data; refuse headers, chunk extensions or trailers that are too large."""
        self._unset_keepalive_if_required()
        if self._phase is _Phase.IDLE and not self._ignores_input:
            self._begin_request()
        size = self.limits.header  # smaller pieces, so that no header can grow far beyond its limit before it is checked
        for start in range(0, len(data), size):
            if self._ignores_input or self.transport.is_closing():
                return
            self._parse(data[start : start + size])

    def _parse(self, data: bytes) -> None:
        self._unparsed += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if self._header_size <= self.limits.header:
                self.send_400_response("")
                return
        limit = self.limits.header
        if self._phase is _Phase.HEADERS and self._header_size + self._unparsed > limit:
            self._refuse(431, f"The headers of the request are too large; expected at most {limit} bytes. Send less.")
        elif self._phase is _Phase.BODY and self._unparsed > limit + len(data):
            self._refuse(431, f"The chunk extensions or trailers are too large; expected at most {limit} bytes.")

    def _feed(self, data: bytes) -> None:
        """Pass received data to the parser, which calls the methods `on_…`.

        The parser stops at the end of the headers of a request with the method CONNECT or with the header Upgrade, and does not
        parse the body: it expects another protocol there. After CONNECT, further input is ignored. A request with the header
        Upgrade is answered like any other, because the HTTP client of Java sends this header with its first request. Its headers
        are therefore passed to a new parser without this header; the new parser then parses the body and the next requests.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stop:
                if not self._repeats_headers:
                    self._ignores_input = True
                    return
                data = data[stop.args[0] :]
                headers = self._headers_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
                self._repeats_headers, self._header_size = False, 0
                self.parser.feed_data(headers)

    def _headers_without_upgrade(self) -> bytes:
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([line, *headers, b"", b""])

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
        cast(dict[str, Any], self.scope)[CONNECTION] = self.connection

    def on_url(self, url: bytes) -> None:
        """Accept a part of the URL."""
        self._header_size += len(url)
        self._unparsed = 0
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Accept a header. Ignore a trailer (a field that follows a chunked body), because it must not be treated as a header.

        If the headers are larger than the limit, raises BufferError, which stops the parser.
        """
        if self._phase is not _Phase.HEADERS:
            return
        self._header_size += len(name) + len(value) + len(b": \r\n")
        self._unparsed = 0
        if self._header_size > self.limits.header:
            raise BufferError("the headers are larger than the limit")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to process a request, whose body follows. The application, not this class, limits the size of the body.

        A request with the header Upgrade is not processed yet; see `_feed`.
        """
        connects = self.parser.get_method() == b"CONNECT"
        self._repeats_headers = self.parser.should_upgrade() and not connects
        if self._repeats_headers:
            return
        super().on_headers_complete()
        if connects:  # what follows would be in the protocol of the host that the client wants to connect to
            self.cycle.keep_alive = False
        self._phase, self._unparsed = _Phase.BODY, 0

    def on_body(self, body: bytes) -> None:
        """Accept a piece of the body, and restart the count of bytes received outside the body, such as chunk extensions."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Record that the request was received completely, and cancel the timer that limits the time to receive it."""
        if self._repeats_headers:  # the parser reports this although it has not parsed the body
            return
        self._end_request()
        self._received = self.cycle
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start a timer for the next action of the client, after a response was sent.

        If the connection is closing, it is aborted unless the client reads the response in time. If the client has already begun to
        send another request, the connection is closed unless the rest of this request arrives in time.
        """
        if self.connection is not None:
            self.connection.release()
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
        """Refuse input that is not valid HTTP/1.1."""
        self._refuse(400, "The request is not valid HTTP/1.1. Check the client.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers, because the connection has ended."""
        self._end_request()
        if self._response_timer is not None:
            self._response_timer.cancel()
        if self.connection is not None:
            self.table.remove(self.connection)
            self.connection = None  # breaks a reference cycle, so that no garbage collection is needed
        super().connection_lost(exc)

    def _begin_request(self) -> None:
        self._phase, self._header_size = _Phase.HEADERS, 0
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
        if self._phase is _Phase.HEADERS and not self._header_size + self._unparsed:
            self.transport.close()  # there is no request to answer
            return
        self._refuse(408, f"The request did not arrive completely; expected it within {self.limits.reading:g} s. Send it faster.")

    def _start_response_timer(self) -> None:
        if self._response_timer is None:
            self._response_timer = self.loop.call_later(self.limits.idle, self.transport.abort)

    def _refuse(self, status: int, detail: str) -> None:
        """Refuse the current request, and close the connection.

        If an earlier request, which was received completely, has no complete response yet, the connection is closed after that
        response. Otherwise it is closed at once; an error response with this status and text is sent first, unless the response
        to the current request has begun.
        """
        if self.transport.is_closing():
            return
        self.events.count(_EVENTS[status], self._host)
        in_body = self._phase is _Phase.BODY and self.cycle.more_body
        earlier = self._received
        if earlier is not None and not earlier.response_complete and (not in_body or self.pipeline):
            if in_body:
                self.pipeline.popleft()  # the current request, which waits for the response to an earlier one
                self.cycle = earlier
            self._ignores_input = True
            self._end_request()
            earlier.keep_alive = False
            return
        if not (in_body and self.cycle.response_started):
            self._write_problem(status, detail)
        self.transport.close()
        self._start_response_timer()

    def _write_problem(self, status: int, detail: str) -> None:
        headers = {"Connection": "close", **({"Retry-After": "1"} if status in (429, 503) else {})}
        phrase = http.HTTPStatus(status).phrase
        problem = response(status, phrase, detail, headers)
        lines = [f"HTTP/1.1 {status} {phrase}".encode()]
        lines += [b": ".join(header) for header in (*problem.raw_headers, *self.response_headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(problem.body))
