"""Caches predictions, so that the same input is not computed twice; independent of how a model predicts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import cachetools

from vertune.core.errors import ConfigError
from vertune.core.records import Answer, Record, copied
from vertune.runtime.predictor import Predictor

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class AnswerCache(Generic[Key, Value]):
    """A thread-safe cache of the most recently used values, at most `entries` of them. Callers must not modify returned values."""

    def __init__(self, entries: int = 10_000) -> None:
        if entries < 1:
            raise ConfigError(f"The cache size is {entries} predictions; expected at least 1. Pass a larger number, or use no cache.")
        self.entries = entries
        self.hits = self.misses = 0
        self._values: cachetools.LRUCache[Key, Value] = cachetools.LRUCache(entries)
        self._pending: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def hit_rate(self) -> float:
        """The fraction of requested values that were cached or already being computed; 0 before the first request."""
        requested = self.hits + self.misses
        return self.hits / requested if requested else 0.0

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, or None if it is not cached; mark it as the most recently used."""
        with self._lock:
            value = self._values.get(key)
            if value is None:
                self.misses += 1
            else:
                self.hits += 1
            return value

    def put(self, key: Key, value: Value) -> None:
        """Store a value, evicting the least recently used one if the cache is full."""
        with self._lock:
            self._values[key] = value

    def get_or_compute(self, keys: Sequence[Key], compute: Callable[[list[int]], Sequence[Value]]) -> list[Value]:
        """Return one value per key, in order; call `compute` for the keys that are not cached.

        `compute` gets a list of indices in `keys`, one for each distinct key that is not cached, and returns one value per index. If
        another thread is already computing the value of a key, this thread waits for that value. If `compute` raises an error, the
        error is raised in every thread that waits for the values, and nothing is cached.
        """
        values: dict[Key, Value] = {}
        waiting: dict[Key, Future[Value]] = {}
        claimed: dict[Key, int] = {}
        with self._lock:
            for position, key in enumerate(keys):
                cached = self._values.get(key)
                if cached is not None:
                    values[key] = cached
                elif key in self._pending and key not in claimed:
                    waiting[key] = self._pending[key]
                elif key not in claimed:
                    claimed[key] = position
                    self._pending[key] = Future()
            self.misses += len(claimed)
            self.hits += len(keys) - len(claimed)
        if claimed:
            values |= self._compute(claimed, compute)
        values |= {key: future.result() for key, future in waiting.items()}
        return [values[key] for key in keys]

    def _compute(self, claimed: dict[Key, int], compute: Callable[[list[int]], Sequence[Value]]) -> dict[Key, Value]:
        """Compute the values of the keys that this thread has reserved, and pass these values to other threads that wait for them.

        `claimed` maps each reserved key to its index in the list that the caller requested.
        """
        try:
            values = dict(zip(claimed, compute(list(claimed.values())), strict=True))
        except BaseException as error:
            for future in self._take_pending(claimed):
                future.set_exception(error)
            raise
        with self._lock:
            self._values.update(values)
        for future, value in zip(self._take_pending(claimed), values.values(), strict=True):
            future.set_result(value)
        return values

    def _take_pending(self, claimed: dict[Key, int]) -> list[Future[Value]]:
        """Remove and return the futures of the keys that this thread has reserved; other threads may be waiting for these futures."""
        with self._lock:
            return [self._pending.pop(key) for key in claimed]


@dataclass(frozen=True)
class CachedPredictor:
    """A predictor that stores its predictions in a cache and returns them for equal inputs."""

    predictor: Predictor
    model: str
    """The id of the model. It is part of the cache key, so that models can share a cache."""
    cache: AnswerCache[Hashable, Answer]

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Return one prediction per record; each is a copy that the caller may modify."""
        inputs = [column.name for column in self.predictor.task.input_columns]
        keys = [(self.model, *(record.get(name) for name in inputs)) for record in records]
        answers = self.cache.get_or_compute(keys, lambda positions: self.predictor.answer([records[position] for position in positions]))
        return copied(answers)
