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
    """A thread that calls a function, waits, and calls it again; an error of a call stops no later one.

    Errors are logged when the first of them occurs, or another kind of error, so that an hour without a database fills no log.
    """

    def __init__(self, name: str, function: Callable[[], None], interval: Callable[[], float]) -> None:
        """`name` says in the log what could not be done; `interval` returns the seconds to wait after a call."""
        self._name, self._function, self._interval = name, function, interval
        self._failure: type[Exception] | None = None
        """The class of the error of the last call; None if it had none."""
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
            except Exception as error:
                self._log(error)
                self._failure = type(error)
            else:
                if self._failure is not None:
                    _log.warning("The %s can be followed again.", self._name)
                self._failure = None
            if self._stopping.wait(self._interval()):
                return

    def _log(self, error: Exception) -> None:
        if type(error) is self._failure:
            return
        if isinstance(error, VertuneError):
            _log.warning("The %s could not be followed. The next attempt is in %g s. %s", self._name, self._interval(), error)
        else:
            _log.error("The %s could not be followed. The next attempt is in %g s.", self._name, self._interval(), exc_info=error)
