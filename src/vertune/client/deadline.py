"""Applies one deadline to everything that a connection sends and receives during a call; independent of HTTP.

httpx applies its timeouts to each read and write separately, so a server that sends its headers byte by byte could delay a call
without limit. The connections of this module shorten each timeout to the time that remains until the deadline.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

_deadline: ContextVar[float] = ContextVar("deadline")
"""The monotonic time at which the call of this thread must end."""


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """A context manager that sets the deadline of one call, as a monotonic time.

    Inside its block, all reads and writes of this thread time out at the deadline. This applies only to the connections of clients
    that were passed to `apply_to`.
    """
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def apply_to(client: httpx.Client) -> None:
    """Make the connections of an httpx client, including those through a proxy, time out at the deadline set by `until`.

    The network backend, the object that opens connections for httpx, is replaced. httpx has no option for this, so private
    attributes are set.
    """
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = _Backend()


class _Backend(httpcore.SyncBackend):
    """Opens TCP connections whose reads and writes time out at the deadline set by `until`.

    If a host has several addresses, they are tried in turn, and all attempts together must end within the timeout for connecting.
    """

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        end = None if timeout is None else time.monotonic() + timeout
        try:
            resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in dict.fromkeys(str(entry[4][0]) for entry in resolved):
            remaining = None if end is None else max(end - time.monotonic(), 0.001)
            try:
                return _Stream(super().connect_tcp(address, port, remaining, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Stream(httpcore.NetworkStream):
    """A network connection whose reads and writes time out at the deadline set by `until`."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._remaining(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._remaining(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._remaining(timeout, httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _remaining(self, timeout: float | None, error: type[Exception]) -> float | None:
        deadline = _deadline.get(None)
        if deadline is None:
            return timeout
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise error("the deadline of this call has passed")
        return remaining if timeout is None else min(timeout, remaining)
