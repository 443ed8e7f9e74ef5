"""Connections under limits: how large headers may be, how long a request may take to come in and its answer to be read.

Built on uvicorn's protocol, which limits none of it: a client that sends a header letter by letter holds a connection for ever.
Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import http
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vertune.server.problems import response
from vertune.server.settings import Limits

_END = b"\r\n\r\n"
_PIPELINED = 64
"""Requests that one connection may send before the first is answered: each takes a hundred times the memory of its bytes."""


class Guarded(HttpToolsProtocol):
    """One connection."""

    limits: ClassVar[Limits] = Limits()
    headers_always: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    """Of every response, also of those that no application makes."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.timeout_keep_alive = self.limits.idle  # type: ignore[assignment] # seconds, of which uvicorn takes whole ones
        self.access_log = False  # which uvicorn turns on for whoever has a handler for all logs
        self._header_bytes = 0
        """Of the request on its way in; below 0 once its headers are in."""
        self._tail = b""
        """The last bytes that came, in which the end of the headers may have begun."""
        self._whole = True
        """Whether no request is on its way in."""
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        """Runs while the client is to take what it was sent."""

    def connection_made(self, transport: Any) -> None:
        """Refuse a connection too many; else wait for its first request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(503, f"This server keeps {self.limits.connections} connections, and has them. Ask again in a moment.")
            return
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Count what comes before the end of the headers."""
        if self._whole:
            self._begin()
        if self._header_bytes >= 0:
            self._header_bytes += len(data)
            seen = self._tail + data
            end = seen.find(_END)
            self._tail = seen[-3:]
            if self._header_bytes - (len(seen) - end if end >= 0 else 0) > self.limits.header:
                self._refuse(431, f"A request's headers have at most {self.limits.header} bytes.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Refuse a request too many."""
        if len(self.pipeline) >= _PIPELINED:
            raise BufferError("too many requests before the first is answered")  # which ends the parser
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What comes from now on is a body, which is limited where it is read."""
        self._header_bytes = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is in."""
        self._end()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A connection that is to close does so when the client has its answer, which may be never."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._wait_for_reader()

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._unread is not None and not self.transport.is_closing():
            self._unread.cancel()
            self._unread = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, whether or not the client has taken all."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP."""
        self._refuse(400, "This is no HTTP request.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._end()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._whole, self._header_bytes, self._tail = False, 0, b""
        if self._late is None:
            self._late = self.loop.call_later(self.limits.reading, self._expired)

    def _end(self) -> None:
        self._whole, self._header_bytes = True, 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _expired(self) -> None:
        self._late = None
        if not self._header_bytes:
            self.transport.close()  # nothing came that could be answered
            return
        self._refuse(408, f"A request must have come in within {self.limits.reading:g} s.")

    def _wait_for_reader(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits.idle, self.transport.abort)

    def _refuse(self, status: int, detail: str) -> None:
        """Say why, where it is this request's turn to be answered and nothing was said yet, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._header_bytes < 0:
            turn = cycle is not None and cycle.more_body and not cycle.response_started
        else:
            turn = cycle is None or cycle.response_complete
        if turn and not self.pipeline:
            phrase = http.HTTPStatus(status).phrase
            said = response(status, phrase, detail, {"Connection": "close", **({"Retry-After": "1"} if status == 503 else {})})
            lines = [f"HTTP/1.1 {status} {phrase}".encode(), *(b": ".join(pair) for pair in (*said.raw_headers, *self.headers_always))]
            self.transport.write(b"\r\n".join(lines) + _END + bytes(said.body))
        self.transport.close()
        self._wait_for_reader()
