"""Calls a function again and again in a thread, until it is stopped; does not depend on what the function does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vertune.core.errors import VertuneError

_log = logging.getLogger("vertune")
_ENDING = 10.0
"""Maximum seconds to wait for the last call when the server stops."""


class Polling:
    """A thread that calls a function, waits, and calls it again; an error of one call is logged and stops no later one."""

    def __init__(self, name: str, function: Callable[[], None], interval: Callable[[], float]) -> None:
        """`name` says in the log what could not be done; `interval` returns the seconds to wait after a call."""
        self._name, self._function, self._interval = name, function, interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"vertune-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread; the first call is at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the call that runs."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_ENDING)

    def _run(self) -> None:
        while True:
            try:
                self._function()
            except VertuneError as error:
                _log.warning("The %s could not be followed. The next attempt is in %g s. %s", self._name, self._interval(), error)
            except Exception:
                _log.exception("The %s could not be followed. The next attempt is in %g s.", self._name, self._interval())
            if self._stopping.wait(self._interval()):
                return
