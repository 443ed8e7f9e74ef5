"""Slows down attempts to guess passwords, by name and by address, in bounded memory; knows nothing of users and HTTP.

Nobody is locked out for good: the time between two attempts grows with each wrong one, up to a bound, and wrong ones are forgotten after
a while. An address from which a name has signed in before does not wait for what other addresses try with this name.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

from vertune.core.errors import Busy

_REMEMBERED = 20_000
"""Number of names and addresses that are counted at most; those of which nothing was heard for the longest time are forgotten first."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many wrong attempts cost nothing, and how long further ones take."""

    free: int
    longest: float
    """Maximum seconds between two attempts."""
    forgiven: float
    """Seconds after which one wrong attempt is forgotten."""


OF_NAME = Patience(free=5, longest=300.0, forgiven=300.0)
OF_ADDRESS = Patience(free=20, longest=300.0, forgiven=60.0)
"""More are free for an address, because people of one office share it."""


@dataclass(slots=True)
class _Counted:
    """The wrong attempts of one name or address."""

    wrong: float = 0.0
    """How many were not forgotten at the time of the last one."""
    at: float = 0.0
    """When the last one was made."""

    def left(self, patience: Patience, now: float) -> float:
        """Return how many are not forgotten by now."""
        return max(0.0, self.wrong - (now - self.at) / patience.forgiven)

    def wait(self, patience: Patience, now: float) -> float:
        """Return the seconds until the next attempt may be made; zero or less if it may be made now."""
        beyond = self.wrong - patience.free
        return 0.0 if beyond < 0 else self.at + min(patience.longest, math.pow(2.0, min(beyond, 30.0))) - now


class Attempts:
    """Wrong attempts to sign in; safe for use from many threads. They are kept in memory, so each process counts by itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns the current time in seconds; it must never go back."""
        self._clock, self._lock = clock, threading.Lock()
        self._counted: LRUCache[tuple[str, str], _Counted] = LRUCache(_REMEMBERED)
        self._trusted: LRUCache[tuple[str, str], bool] = LRUCache(_REMEMBERED)
        """The names that signed in, with the address from which they did."""

    def begin(self, name: str, address: str | None) -> None:
        """Count an attempt as wrong before it is decided, so that many at once are no loophole; raise Busy if it comes too early.

        `address` is None if it says nothing of the client, as behind a proxy.
        """
        with self._lock:
            now = self._clock()
            counts = [] if address is None else [(("address", address), OF_ADDRESS)]
            if address is None or (name, address) not in self._trusted:
                counts.append((("name", name), OF_NAME))
            found = [(self._counted.setdefault(what, _Counted(at=now)), patience) for what, patience in counts]
            wait = max(counted.wait(patience, now) for counted, patience in found)
            if wait > 0:
                raise Busy(f"Too many attempts to sign in failed. Retry in {int(wait) + 1} s.", wait, over_limit=True)
            for counted, patience in found:
                counted.wrong, counted.at = counted.left(patience, now) + 1, now

    def succeed(self, name: str, address: str | None) -> None:
        """Take back that the last attempt with a name counted as wrong, and forget the others with this name."""
        with self._lock:
            self._counted.pop(("name", name), None)
            if address is not None:
                counted = self._counted.get(("address", address))
                if counted is not None:  # earlier ones stay, or else who knows one password could guess others without a pause
                    counted.wrong = max(0.0, counted.wrong - 1)
                self._trusted[name, address] = True
