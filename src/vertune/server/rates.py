"""Counts requests for rate limits, in constant memory per client; independent of API keys and HTTP."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vertune.store.key import Rate

_GROUPS = 64
"""Maximum number of groups into which the requests of one period are divided."""
_MIN_PURGED = 1000
"""Number of clients below which no memory of inactive clients is freed."""


@dataclass(slots=True)
class _Group:
    """Requests that arrived shortly after one another."""

    first: float
    last: float
    count: int


@dataclass(slots=True)
class _Window:
    """The requests of one client that count at present, oldest first."""

    groups: deque[_Group] = field(default_factory=deque)
    total: int = 0


class RateLimiter:
    """Allows each client a number of requests per period: never more within any time of this length.

    Up to 64 requests per period are counted exactly. Of larger numbers, requests that arrive within a 64th of the period are counted
    as one group, and count until the last of them is one period old. A request may therefore count up to a 64th of the period longer
    than necessary. The times are those of a clock that nobody can set. They are kept in memory, so each process counts by itself, and
    a restart begins at zero.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns the current time in seconds; it must never go back."""
        self._clock = clock
        self._windows: dict[tuple[Rate, str], _Window] = {}
        self._purge_above = _MIN_PURGED

    def hit(self, rate: Rate, client: str) -> float:
        """Count a request and return 0; or, if the client has reached the limit, return the seconds until its next request is allowed.

        Refused requests are not counted.
        """
        now = self._clock()
        window = self._windows.get((rate, client))
        if window is None:
            self._purge(now)
            window = self._windows[rate, client] = _Window()
        groups = window.groups
        while groups and groups[0].last <= now - rate.seconds:
            window.total -= groups.popleft().count
        if window.total >= rate.amount:
            return max(groups[0].last + rate.seconds - now, 1e-9)
        window.total += 1
        if groups and rate.amount > _GROUPS and now - groups[-1].first < rate.seconds / _GROUPS:
            groups[-1].count += 1
            groups[-1].last = now
        else:
            groups.append(_Group(now, now, 1))
        return 0.0

    def _purge(self, now: float) -> None:
        """Free the memory of clients whose requests no longer count, if the number of clients has doubled since the last time."""
        if len(self._windows) < self._purge_above:
            return
        self._windows = {key: window for key, window in self._windows.items() if window.groups[-1].last > now - key[0].seconds}
        self._purge_above = max(_MIN_PURGED, 2 * len(self._windows))
