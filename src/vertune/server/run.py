"""A server from its first socket to its last answer: start, follow the home, drain, stop; knows no resource."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from contextlib import contextmanager, suppress

import uvicorn

from vertune.core.artifact import Home
from vertune.core.errors import ConfigError, StorageError
from vertune.server.application import HEADERS, build
from vertune.server.protocol import Guarded
from vertune.server.service import Service
from vertune.store.keys import FILE, Keys

_DRAIN = 20.0
"""Seconds that requests have to end once the server was told to stop."""
_CLOSE = 5.0
"""Seconds that those who are slow to read their answers have after that."""


def keys_of(home: Home) -> Keys:
    """The keys of a home."""
    return Keys(home.folder / FILE)


def serve(service: Service, keys: Keys | None, started: Callable[[str], None]) -> None:
    """Answer until told to stop by SIGTERM or SIGINT, then end what was begun; `started` is told the address.

    StorageError where the port can't be had, ConfigError where everybody could ask without the settings saying so.
    """
    with asyncio.Runner(loop_factory=_loop()) as runner:
        runner.run(_until_signalled(service, keys, started))


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The quicker loop, where there is one for this system."""
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
    """Answer until `stop` is set, as `serve` does."""
    settings = service.settings
    settings.check()
    if keys is None and not settings.open:
        raise ConfigError("A server without keys answers everybody, which the settings must say: open=true.")
    loop = asyncio.get_running_loop()
    service.start(loop)
    _spare_collector()
    server = _Server(_config(service, keys))
    watching = loop.create_task(service.aliases.watch())
    serving = loop.create_task(server.serve())
    stopping = loop.create_task(stop.wait())
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if not serving.done():
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            started(f"http://{host}:{server.port}")
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            service.draining = True
            await server.drain()
    finally:
        server.should_exit = True
        stopping.cancel()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        try:
            await serving
        finally:
            service.stop()


def _spare_collector() -> None:
    """Have cycles be looked for a thirtieth as often, and not among what is loaded already: it was a tenth of the loop's work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _config(service: Service, keys: Keys | None) -> uvicorn.Config:
    """How uvicorn runs the application: quietly, and with connections of ours."""
    settings = service.settings
    app = build(service, keys)
    protocol = type("Protocol", (Guarded,), {"limits": settings.limits, "headers_always": HEADERS})
    return uvicorn.Config(
        app, host=settings.host, port=settings.port, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, date_header=True, timeout_keep_alive=int(settings.limits.idle), proxy_headers=False,
    )  # fmt: skip


class _Server(uvicorn.Server):
    """uvicorn's server, whose signals are ours."""

    @property
    def port(self) -> int:
        """The port in use, also where any was asked for."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; StorageError where the port can't be had, for which uvicorn would end the process."""
        try:
            await super().startup(sockets)
        except SystemExit as error:
            place = f"Port {self.config.port} of {self.config.host}"
            raise StorageError(f"{place} can't be had: another program has it. Choose one: --port 8001") from error

    async def drain(self) -> None:
        """Wait for the requests that were begun, also those whose texts are not queued yet."""
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_DRAIN)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections, those too whose clients don't read."""
        late = asyncio.get_running_loop().call_later(_CLOSE, self._abort)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()

    def _abort(self) -> None:
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, Guarded):
                connection.transport.abort()

    @contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """None: ours drain first."""
        yield
