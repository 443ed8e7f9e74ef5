"""A clock that counts only the time that the process gets on the processor, so that other programs don't use up a time limit.

It runs like any clock while the process computes, or waits for a disk. While threads of the process are ready to run and
wait for a processor, it runs slower. Independent of training.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Usage = dict[str, tuple[float, float]]
"""For each thread of the process, the seconds that it ran, and the seconds that it was ready to run but waited for a processor."""

_TASKS = Path("/proc/self/task")


def usage() -> Usage:
    """Return how long each thread of this process ran and waited; empty on systems other than Linux, which don't tell."""
    found: Usage = {}
    try:
        for folder in _TASKS.iterdir():
            try:
                ran, waited, *_ = (folder / "schedstat").read_text(encoding="ascii").split()
            except OSError:
                continue  # a thread that has just ended
            found[folder.name] = (int(ran) / 1e9, int(waited) / 1e9)
    except (OSError, ValueError):
        return {}
    return found


@dataclass(slots=True)
class WorkClock:
    """Counts the seconds of work since it was made: the time that passed, less the time for which other programs were in the way."""

    wall: Callable[[], float] = time.monotonic
    threads: Callable[[], Usage] = usage
    _seconds: float = 0.0
    _last: float = field(init=False)
    _known: Usage = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._last, self._known = self.wall(), self.threads()

    def now(self) -> float:
        """Return the seconds of work so far."""
        with self._lock:
            wall, threads = self.wall(), self.threads()
            self._seconds += _work(wall - self._last, self._known, threads)
            self._last, self._known = wall, threads
            return self._seconds


def _work(passed: float, before: Usage, after: Usage) -> float:
    """Return the seconds of work in an interval of `passed` seconds, from the threads' times at its start and at its end.

    Threads that compute together wait at the same time. What they waited for in total is therefore divided by the
    number of threads that were busy on average, if this is more than one.
    """
    ran = sum(max(0.0, times[0] - before.get(name, (0.0, 0.0))[0]) for name, times in after.items())
    waited = sum(max(0.0, times[1] - before.get(name, (0.0, 0.0))[1]) for name, times in after.items())
    if passed <= 0 or not waited:
        return max(0.0, passed)
    return max(0.0, passed - waited / max(1.0, (ran + waited) / passed))


_CLOCK = WorkClock()


def now() -> float:
    """Return the seconds of work that this process did since this module was imported."""
    return _CLOCK.now()
