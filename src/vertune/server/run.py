"""Runs the server process: listens, loads models when aliases change, finishes requests before it stops; independent of endpoints."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from vertune.core import collector
from vertune.core.errors import ConfigError, StorageError
from vertune.server.application import HEADERS, build
from vertune.server.connections import ConnectionTable
from vertune.server.open_files import connection_capacity
from vertune.server.protocol import LimitedProtocol
from vertune.server.repeated import RepeatedEvents
from vertune.server.service import Service
from vertune.server.tls import Certificates, TLSProtocol
from vertune.store.keys import Keys

_log = logging.getLogger("vertune")
_DRAIN_TIMEOUT = 20.0
"""Maximum seconds that running requests may take after a signal to stop."""
_CLOSE_TIMEOUT = 5.0
"""Maximum seconds that clients may take to read their responses at shutdown, after `_DRAIN_TIMEOUT`."""
_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets another one go on.

With Python's 5 ms, the event loop, which needs the interpreter for a moment each time, waits for all apps that think about a message.
"""
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""Errors of the system when it can't accept a connection."""


def serve(service: Service, keys: Keys | None, started: Callable[[str], None]) -> None:
    """Run the server until SIGTERM or SIGINT, then finish the running requests.

    `keys` is the database of API keys; if it is None, requests need no key. `started` is called with the URL when the server
    listens; models are loaded afterwards. Raises StorageError if the port is not available, and ConfigError if `keys` is None and the
    setting `open` is false.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_until_signalled(service, keys, started))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the function of uvloop that creates event loops, or None, which means asyncio's own loop, if it is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_signalled(service: Service, keys: Keys | None, started: Callable[[str], None]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    await run(service, keys, started, stop)


async def run(service: Service, keys: Keys | None, started: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve in the running event loop until `stop` is set; the other arguments and the errors are those of `serve`."""
    settings = service.settings
    settings.check()
    if keys is None and not settings.open:
        raise ConfigError(
            "The server has no API keys; expected keys or the setting open=true, which allows requests without a key. Pass --open, or "
            "create a key: vertune key create NAME --scope predict"
        )
    loop = asyncio.get_running_loop()
    events = RepeatedEvents(service.metrics.count_connection)
    loop.set_exception_handler(_exception_handler(events))
    certificates = Certificates(settings.tls) if settings.tls else None
    server = _Server(_config(service, keys, events, certificates))
    service.start(loop)  # after all that can fail, so that nothing runs on without a server
    if keys is not None:
        keys.watch()
    _spare_collector()
    watching = [loop.create_task(certificates.watch())] if certificates else []
    serving = loop.create_task(server.serve())
    stopping = loop.create_task(stop.wait())
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if not serving.done():
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            started(f"{'https' if certificates else 'http'}://{host}:{server.port}")
            watching.append(loop.create_task(_follow(service)))
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            service.drain()
            await server.drain()
    finally:
        server.should_exit = True
        stopping.cancel()
        for task in watching:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        try:
            await serving
        finally:
            events.flush()
            service.stop()
            if keys is not None:
                keys.close()


async def _follow(service: Service) -> None:
    """Load the models, and follow the aliases until the task is cancelled."""
    await asyncio.to_thread(service.try_update)
    _spare_collector()  # again, because the models are the most of what exists
    await service.follow()


def _spare_collector() -> None:
    """Run garbage collection 30 times less often, and never on the objects that exist now.

    Without this, garbage collection took a tenth of the time of the event loop.
    """
    gc.collect()
    gc.freeze()
    collector.look_less_often()


def _exception_handler(events: RepeatedEvents) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Return an exception handler for an event loop that counts connections which the system can't accept.

    asyncio would log a traceback for each of them, a hundred per second.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_RESOURCES:
            events.count("not_accepted")
        else:  # the message of asyncio quotes the arguments of callbacks, such as received bytes
            _log.error("The event loop caught an exception that nothing handled.", exc_info=error)

    return handle


def _config(service: Service, keys: Keys | None, events: RepeatedEvents, certificates: Certificates | None) -> uvicorn.Config:
    """Return the configuration of uvicorn for this server.

    Connections are handled by LimitedProtocol, which applies the limits of the settings; if there are certificates, TLSProtocol does
    the handshakes. uvicorn itself logs nothing.
    """
    settings = service.settings
    limits = settings.limits
    capacity = connection_capacity(limits.connections)
    app = build(service, keys)
    options = {
        "limits": limits,
        "response_headers": HEADERS,
        "table": ConnectionTable(capacity.connections, limits.connections_per_address, limits.connections_per_key, settings.behind_proxy),
        "events": events,
    }
    protocol: type[asyncio.Protocol] = type("Protocol", (LimitedProtocol,), options)
    if certificates:
        protocol = type("Protocol", (TLSProtocol,), {"protocol": protocol, "certificates": certificates})
    return uvicorn.Config(
        app, host=settings.host, port=settings.port, http=protocol, ws="none", lifespan="off",
        log_config=None, access_log=False, server_header=False, proxy_headers=False, backlog=capacity.backlog,
    )  # fmt: skip


class _Refusal(logging.Filter):
    """Keeps the error for which uvicorn can't listen out of the log, which tells the same in our words."""

    error: OSError | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep an error of the system, and let all else pass."""
        if not isinstance(record.msg, OSError):
            return True
        self.error = record.msg
        return False


def _reason(error: OSError) -> str:
    """Return why the system refuses an address, without the words of a library."""
    if error.errno is None or error.errno <= 0 or isinstance(error, socket.gaierror):
        return str(error.strerror or error).rstrip(".")
    return os.strerror(error.errno)


class _Server(uvicorn.Server):
    """A uvicorn server that handles no signals, raises StorageError if its port is not available, and can wait for running requests."""

    @property
    def port(self) -> int:
        """The port on which the server listens; if the configured port is 0, the port that the operating system chose."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen. If the port is not available, raise StorageError instead of ending the process as uvicorn does."""
        refusal = _Refusal()
        uvicorn.server.logger.addFilter(refusal)
        try:
            await super().startup(sockets)
        except SystemExit as error:
            reason = "another program may use it" if refusal.error is None else _reason(refusal.error)
            raise StorageError(
                f"Port {self.config.port} of {self.config.host} is not available: {reason}. Choose another port or address: --port 8001 "
                "--host 127.0.0.1"
            ) from error
        finally:
            uvicorn.server.logger.removeFilter(refusal)

    async def drain(self) -> None:
        """Wait until all running requests are finished, but at most `_DRAIN_TIMEOUT` seconds.

        Requests whose inputs have not been queued for a batch yet are included.
        """
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_DRAIN_TIMEOUT)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections; abort those whose clients have not read their responses within `_CLOSE_TIMEOUT` seconds."""
        timer = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT, self._abort_connections)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def _abort_connections(self) -> None:
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, LimitedProtocol | TLSProtocol):
                connection.transport.abort()

    @contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Install no signal handlers, unlike uvicorn: `serve` handles the signals, and first waits for running requests."""
        yield
