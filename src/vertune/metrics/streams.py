"""Detectors that watch a stream of numbers, such as errors, and say when its mean has changed; independent of what is streamed.

They need no window of a fixed length and no correction for the number of looks: their options say how often they err.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

_CLOCK = 32
"""Number of values between two searches for a change; a search takes longer than taking a value."""
_BUCKETS = 5
"""Largest number of buckets of one size; more would be exacter and slower."""
_LEAST = 5
"""Least number of values on each side of a change."""


class Adwin:
    """A window that grows as long as its mean does not change, and forgets what came before a change (ADWIN2, Bifet and Gavaldà 2007).

    Values are kept as sums of 1, 2, 4 … successive ones, so that a million values take a hundred buckets.
    """

    def __init__(self, delta: float = 0.002) -> None:
        """`delta` is the probability, of each search, to see a change where there is none."""
        self.delta = delta
        self.count = 0
        """Number of values in the window."""
        self.total = 0.0
        self._squares = 0.0
        self._seen = 0
        self._rows: list[deque[tuple[float, float]]] = [deque()]
        """For each power of 2, the sums of buckets with so many values, and the sums of their squares, oldest first."""

    @property
    def mean(self) -> float:
        """The mean of the values since the last change; 0 if there are none."""
        return self.total / self.count if self.count else 0.0

    def update(self, value: float) -> bool:
        """Take the next value, and return whether the mean has changed."""
        self._seen += 1
        self._rows[0].append((value, value * value))
        self.count, self.total, self._squares = self.count + 1, self.total + value, self._squares + value * value
        self._merge()
        return self._seen % _CLOCK == 0 and self._shrink()

    def _merge(self) -> None:
        """Add up the two oldest buckets of a size of which there are too many."""
        for power, row in enumerate(self._rows):
            if len(row) <= _BUCKETS:
                return
            one, other = row.popleft(), row.popleft()
            if power + 1 == len(self._rows):
                self._rows.append(deque())
            self._rows[power + 1].append((one[0] + other[0], one[1] + other[1]))

    def _shrink(self) -> bool:
        """Drop the oldest buckets as long as the window has two parts with different means; return whether there was a change."""
        changed = False
        while self._differs():
            changed = True
            power = max(power for power, row in enumerate(self._rows) if row)
            total, squares = self._rows[power].popleft()
            self.count, self.total, self._squares = self.count - 2**power, self.total - total, self._squares - squares
        return changed

    def _differs(self) -> bool:
        """Whether the window can be cut into two parts whose means differ by more than chance allows."""
        if self.count <= 2 * _LEAST:
            return False
        variance = max(0.0, self._squares / self.count - self.mean**2)
        factor = math.log(2 * math.log(self.count) / self.delta)
        before, total = 0, 0.0
        for power in range(len(self._rows) - 1, -1, -1):
            for one, _ in self._rows[power]:
                before, total = before + 2**power, total + one
                after = self.count - before
                if before < _LEAST or after < _LEAST:
                    continue
                inverse = 1 / (before - _LEAST + 1) + 1 / (after - _LEAST + 1)
                limit = math.sqrt(2 * inverse * variance * factor) + 2 / 3 * inverse * factor
                if abs(total / before - (self.total - total) / after) > limit:
                    return True
        return False


class PageHinkley:
    """Adds up by how much values exceed their mean, and sees a change where the sum has risen too far (Page 1954, Hinkley 1971)."""

    def __init__(self, threshold: float, delta: float = 0.005, mean: float | None = None, least: int = 30) -> None:
        """`delta` is the rise of the mean that is still no change. Without the usual `mean`, that of all values so far is taken.

        No change is seen in the first `least` values.
        """
        self.threshold, self.delta, self.usual, self.least = threshold, delta, mean, least
        self.count, self.total, self.sum, self.lowest = 0, 0.0, 0.0, 0.0

    @classmethod
    def of_rate(cls, rate: float, rise: float, between: float = 100_000) -> PageHinkley:
        """Return the detector of a rise of an error rate that is usually `rate`, with about `between` values between two false alarms.

        The sum falls by `rise` / 2 per value on average, and errors are rare jumps, so the tail of its height is exponential with the rate
        for which the moment generating function is 1 (Lundberg; Siegmund 1985).
        """
        usual, delta = min(max(rate, 0.01), 0.99), rise / 2
        low, high = 0.0, 2 * delta / (usual * (1 - usual)) + 1
        for _ in range(60):  # log(1 - p + p exp(t)) = t (p + delta) for the t above 0
            middle = (low + high) / 2
            below = math.log1p(usual * math.expm1(middle)) < middle * (usual + delta)
            low, high = (middle, high) if below else (low, middle)
        exponent = 1.0
        for _ in range(50):  # exp(x) - 1 - x = between · 2 δ² / σ²
            exponent = math.log(between * 2 * delta**2 / (usual * (1 - usual)) + 1 + exponent)
        return cls(max(1.0, exponent / low), delta, rate)

    @property
    def height(self) -> float:
        """How far the sum has risen above its lowest value."""
        return self.sum - self.lowest

    def update(self, value: float) -> bool:
        """Take the next value, and return whether the mean has risen; after a change, everything begins again."""
        self.count, self.total = self.count + 1, self.total + value
        self.sum += value - (self.total / self.count if self.usual is None else self.usual) - self.delta
        self.lowest = min(self.lowest, self.sum)
        if self.count < self.least or self.height <= self.threshold:
            return False
        self.count, self.total, self.sum, self.lowest = 0, 0.0, 0.0, 0.0
        return True


def last_change(values: Iterable[float], detector: Adwin | PageHinkley) -> int | None:
    """Return how many values a detector had taken when it saw the last change; None if it saw none."""
    found = None
    for number, value in enumerate(values, 1):
        if detector.update(value):
            found = number
    return found
