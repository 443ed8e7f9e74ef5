"""Connections under limits: how large headers may be, how long a request may take to come in and its answer to be read.

Built on uvicorn's protocol, which limits none of it: a client that sends a header letter by letter holds a connection for ever.
Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import http
import re
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vertune.server.problems import response
from vertune.server.settings import RequestLimits

_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*", re.IGNORECASE)
_PIPELINED = 64
"""Requests that one connection may send before the first is answered: each takes a hundred times the memory of its bytes."""


class Guarded(HttpToolsProtocol):
    """One connection."""

    limits: ClassVar[RequestLimits] = RequestLimits()
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
        self._trailing = 0
        """Bytes that came after the headers and are no body: what stands behind the last chunk, or beside a chunk's length."""
        self._deaf = False
        """Whether what still comes is not read, because what came could not be."""
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
        if self._deaf:
            return
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
            data = _plain(data)
        self._trailing += len(data)
        super().data_received(data)
        if self._header_bytes < 0 and self._trailing > self.limits.header + len(data):
            self._refuse(431, f"What stands beside a body has at most {self.limits.header} bytes.")

    def on_message_begin(self) -> None:
        """Refuse a request too many; one that came in the bytes of another begins here."""
        if len(self.pipeline) >= _PIPELINED:
            raise BufferError("too many requests before the first is answered")  # which ends the parser
        if self._whole:
            self._begin()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Leave out what comes as a header behind the body: nobody reads it, and it must not pass for one."""
        if self._header_bytes >= 0:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """What comes from now on is a body, which is limited where it is read."""
        super().on_headers_complete()
        self._header_bytes = -1
        self._trailing = 0

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._trailing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is in."""
        self._end()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A connection that is to close does so when the client has its answer, which may be never."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._wait_for_reader()
        elif not self._whole and not self.pipeline:
            self._hurry()

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
        """What is no HTTP; requests that came whole before it are answered, and then the connection closes."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            self._refuse(400, "This is no HTTP request.")
            return
        self._deaf = True
        self._end()
        self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._end()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._whole, self._header_bytes, self._tail = False, 0, b""
        if self.cycle is None or self.cycle.response_complete:
            self._hurry()  # else it is not read on before the one ahead of it is answered

    def _hurry(self) -> None:
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


def _plain(data: bytes) -> bytes:
    """The bytes of headers without an offer to go on in another protocol, behind which the parser would read no body.

    Java's client makes that offer with every first request.
    """
    if b"pgrade" not in data:
        return data
    head, end, rest = data.partition(_END)
    return _UPGRADE.sub(b"", head) + end + rest
