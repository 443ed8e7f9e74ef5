"""A server from its first socket to its last answer: start, follow the home, drain, stop; knows no resource."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import contextmanager, suppress

import uvicorn

from vertune.core.artifact import Home
from vertune.core.errors import StorageError
from vertune.server.access import Access
from vertune.server.app import build
from vertune.server.protocol import Guarded
from vertune.server.service import Service
from vertune.store.keys import FILE, Keys

_DRAIN = 20.0
"""Seconds that requests have to end once the server was told to stop."""


def keys_of(home: Home) -> Keys:
    """The keys of a home."""
    return Keys(home.folder / FILE)


def serve(service: Service, keys: Keys | None, started: Callable[[str], None]) -> None:
    """Answer until told to stop by SIGTERM or SIGINT, then end what was begun; `started` is told the address.

    StorageError where the port can't be had.
    """
    with asyncio.Runner(loop_factory=_loop()) as runner:
        runner.run(_serve(service, keys, started))


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The quicker loop, where there is one for this system."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _on(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], None]:
    """How other threads have something called on a loop."""

    def post(call: Callable[[], None]) -> None:
        loop.call_soon_threadsafe(call)

    return post


async def _serve(service: Service, keys: Keys | None, started: Callable[[str], None]) -> None:
    settings = service.settings
    loop = asyncio.get_running_loop()
    service.start(_on(loop))
    app = build(service, Access(keys, settings.rate), settings)
    protocol = type("Protocol", (Guarded,), {"limits": settings.limits})
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, date_header=True, timeout_keep_alive=int(settings.limits.idle), proxy_headers=False,
    )  # fmt: skip
    server = _Server(config)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watching = loop.create_task(service.watch())
    serving = loop.create_task(server.serve())
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if not serving.done():
            started(f"http://{settings.host}:{server.port}")
            await asyncio.wait([serving, loop.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            service.draining = True
            await asyncio.to_thread(service.batcher.drain, _DRAIN)
    finally:
        server.should_exit = True
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        try:
            await serving
        except SystemExit as error:
            raise StorageError(
                f"Port {settings.port} of {settings.host} can't be had: another program has it. Choose one: --port 8001"
            ) from error
        finally:
            service.stop()


class _Server(uvicorn.Server):
    """uvicorn's server, whose signals are ours."""

    @property
    def port(self) -> int:
        """The port in use, also where any was asked for."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    @contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """None: ours drain first."""
        yield
