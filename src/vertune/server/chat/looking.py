"""Calls a coroutine function again and again in the event loop, until it is stopped; does not depend on what the function does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from vertune.core.errors import VertuneError

_log = logging.getLogger("vertune")


class Looking:
    """A task that calls a function, waits, and calls it again; an error of a call stops no later one.

    Of errors that say what to do, such as those of a database that is away, the first one in a row is logged.
    """

    def __init__(self, what: str, function: Callable[[], Awaitable[None]], interval: float, stopped: Callable[[], bool]) -> None:
        """`what` says in the log what could not be done; `interval` is in seconds; no call begins once `stopped` returns True."""
        self._what, self._function, self._interval, self._stopped = what, function, interval, stopped
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to call the function; the first call is at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()

    def wake(self) -> None:
        """Call the function at once, or again after the call that runs."""
        self._wake.set()

    async def _run(self) -> None:
        failing = False
        while not self._stopped():
            try:
                await self._function()
                failing = False
            except VertuneError as error:
                if not failing:
                    _log.warning("%s; the next attempt is in %g s. %s", self._what, self._interval, error)
                failing = True
            except Exception:
                _log.exception("%s.", self._what)
            try:
                await asyncio.wait_for(self._wake.wait(), self._interval)
            except TimeoutError:
                continue
            self._wake.clear()
