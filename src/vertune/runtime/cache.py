"""Answers that were given already, kept for when the same is asked again; knows nothing of how a model answers.

A request that comes while the same one is being computed waits for that answer. What is kept is bounded by a number of answers,
and those longest unasked go first.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from vertune.core.errors import ConfigError
from vertune.core.records import Answer, Record
from vertune.runtime.predictor import Predictor

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LRUCache(Generic[Key, Value]):
    """The values put last, up to a number of them; safe for many threads. Who takes one must not change it."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Value | None:
        """The value of a key, which then counts as asked last."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; those longest unasked make room."""
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self.entries:
                self._kept.popitem(last=False)


class AnswerCache:
    """A predictor that remembers; safe for many threads."""

    def __init__(self, predictor: Predictor, version: str, entries: int = 10_000) -> None:
        """`version` is the id of the model, so that two models never share an answer; `entries` is how many answers are kept."""
        if entries < 1:
            raise ConfigError(f"A cache keeps at least 1 answer; got {entries}.")
        self.predictor, self.version, self.entries = predictor, version, entries
        self.hits = self.misses = 0
        self._inputs = tuple(column.name for column in predictor.task.columns if column.role == "input")
        self._kept: LRUCache[Hashable, Answer] = LRUCache(entries)
        self._computing: dict[Hashable, Future[Answer]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def hit_rate(self) -> float:
        """Share of what was asked that needed no forward pass of its own; 0 where nothing was asked."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 0.0

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """One answer a record, each the caller's own to change; an error of the model reaches everybody who waits for it."""
        keys = [self._key(record) for record in records]
        found: dict[Hashable, Answer] = {}
        waiting: dict[Hashable, Future[Answer]] = {}
        mine: dict[Hashable, Record] = {}
        with self._lock:
            for key, record in zip(keys, records, strict=True):
                known = self._kept.get(key)
                if known is not None:
                    found[key] = known
                elif key in self._computing and key not in mine:
                    waiting[key] = self._computing[key]
                elif key not in mine:
                    mine[key] = record
                    self._computing[key] = Future()
            self.misses += len(mine)
            self.hits += len(records) - len(mine)
        if mine:
            found |= self._computed(mine)
        found |= {key: future.result() for key, future in waiting.items()}
        return [copy.deepcopy(found[key]) for key in keys]

    def _key(self, record: Record) -> Hashable:
        return (self.version, *(record.get(name) for name in self._inputs))

    def _computed(self, mine: dict[Hashable, Record]) -> dict[Hashable, Any]:
        """Compute what nobody computes yet, and tell those who wait."""
        try:
            answers = self.predictor.answer(list(mine.values()))
        except BaseException as error:
            with self._lock:
                futures = [self._computing.pop(key) for key in mine]
            for future in futures:
                future.set_exception(error)
            raise
        found = dict(zip(mine, answers, strict=True))
        with self._lock:
            futures = [self._computing.pop(key) for key in mine]
            for key, answer in found.items():
                self._kept.put(key, answer)
        for future, answer in zip(futures, answers, strict=True):
            future.set_result(answer)
        return found
