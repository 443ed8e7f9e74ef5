"""Logs events that any client can cause, at most one line per minute for each kind; independent of what the events are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger("vertune")
PERIOD = 60.0
"""Seconds that one line covers."""


@dataclass(slots=True)
class _Count:
    """The events of one kind since the last line."""

    timer: asyncio.TimerHandle
    number: int = 0
    address: str = ""


class RepeatedEvents:
    """Counts events by kind, and logs the first of each kind at once, and how many followed at the end of each minute.

    Otherwise a client could fill a disk with a line for each malformed request. A line consists of `key=value` pairs.
    """

    def __init__(self, on_event: Callable[[str], None] = lambda kind: None) -> None:
        """The function `on_event` is called with the kind of every event."""
        self._on_event = on_event
        self._counts: dict[str, _Count] = {}

    def count(self, kind: str, address: str | None = None) -> None:
        """Count an event. `kind` is one of a few fixed words; `address` is that of the client, if it is known."""
        self._on_event(kind)
        count = self._counts.get(kind)
        if count is None:
            self._log(kind, 1, 0.0, address or "unknown")
            self._start(kind)
        else:
            count.number, count.address = count.number + 1, address or "unknown"

    def flush(self) -> None:
        """Log what was counted and not yet logged, and stop all timers."""
        counts, self._counts = self._counts, {}
        for kind, count in counts.items():
            count.timer.cancel()
            if count.number:
                self._log(kind, count.number, PERIOD, count.address)

    def _start(self, kind: str) -> None:
        self._counts[kind] = _Count(asyncio.get_running_loop().call_later(PERIOD, self._end_period, kind))

    def _end_period(self, kind: str) -> None:
        count = self._counts.pop(kind)
        if count.number:
            self._log(kind, count.number, PERIOD, count.address)
            self._start(kind)

    def _log(self, kind: str, number: int, seconds: float, address: str) -> None:
        _log.warning("event=%s count=%d seconds=%g last_address=%s", kind, number, seconds, address)
