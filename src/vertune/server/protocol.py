"""Connections under limits: how large a request's headers may be, and how long it may take to come in; knows nothing of requests.

Built on uvicorn's protocol, which limits neither: a client that sends a header letter by letter holds a connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vertune.server.settings import Limits


class Guarded(HttpToolsProtocol):
    """One connection."""

    limits: ClassVar[Limits] = Limits()

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._header_bytes = 0
        self._whole = True
        """Whether no request is on its way in."""
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Refuse a connection too many; else wait for its first request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.close()
            return
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Count what comes before the end of the headers."""
        if self._whole:
            self._begin()
        if self._header_bytes >= 0:
            self._header_bytes += len(data)
            end = data.find(b"\r\n\r\n")
            if self._header_bytes - (len(data) - end if end >= 0 else 0) > self.limits.header:
                self._refuse(431, f"A request's headers have at most {self.limits.header} bytes.")
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """What comes from now on is a body, which is limited where it is read."""
        self._header_bytes = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is in."""
        self._end()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._whole, self._header_bytes = False, 0
        if self._late is None:
            self._late = self.loop.call_later(self.limits.reading, self._expired)

    def _end(self) -> None:
        self._whole, self._header_bytes = True, 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _expired(self) -> None:
        self._late = None
        self._refuse(408, f"A request must have come in within {self.limits.reading:g} s.")

    def _refuse(self, status: int, detail: str) -> None:
        """Say why, where nothing was said yet, and close."""
        from vertune.server.problems import MEDIA, response

        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            said = response(status, {408: "Request Timeout", 431: "Request Header Fields Too Large"}[status], detail)
            body = bytes(said.body)
            head = f"HTTP/1.1 {status} refused\r\ncontent-type: {MEDIA}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        self.transport.close()
