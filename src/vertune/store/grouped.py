"""Runs the writes of many callers in common transactions, in one thread, so that they share the waiting for the disk; knows no table.

Each caller waits for its write and is told of its failure, so nothing is kept for later, and a write may be called twice.
`store/writer.py` is for requests that are answered already, for which nobody waits: it keeps them while the database is away, within a
limit, and writes each once.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from vertune.core.errors import StorageError, Unavailable
from vertune.store.database import Database

_log = logging.getLogger("vertune")
Result = TypeVar("Result")
_GROUP = 100
"""Maximum number of writes in one transaction, so that other writers wait for a short time."""


@dataclass(slots=True)
class _Work:
    """A write that waits."""

    order: str
    write: Callable[[Connection], Any]
    future: Future[Any] = field(default_factory=Future)


class Grouped:
    """Takes writes from any thread; the result of each is known when it is on the disk.

    What waits while a transaction is on its way to the disk is written by the next one, all together. If one of a group fails, each is
    written by itself, so that it harms no other. A write may thus be called twice, and must be right if an earlier one took effect.
    """

    def __init__(
        self, database: Database, name: str, last: Callable[[Connection, Sequence[Any]], None] = lambda connection, results: None
    ) -> None:
        """`name` is that of the thread; `last` is called at the end of each transaction, with the results of its writes."""
        self._database, self._last = database, last
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        """So that nothing is added after the end of the queue."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end the thread; later writes fail."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, order: str, write: Callable[[Connection], Result]) -> Future[Result]:
        """Add a write. Writes of a transaction run by their `order`, so that two servers never wait for each other's rows."""
        work = _Work(order, write)
        with self._lock:
            if self._closed:
                work.future.set_exception(Unavailable("The server stops and writes nothing more. Send the request to another server."))
            else:
                self._waiting.put(work)
        return work.future

    def _run(self) -> None:
        going_on = True
        while going_on:
            group, going_on = self._next()
            if group:
                self._write(group)

    def _next(self) -> tuple[list[_Work], bool]:
        """Wait for writes; return those that wait, and whether there may be more."""
        first = self._waiting.get()
        group: list[_Work] = []
        while first is not None:
            if first.future.set_running_or_notify_cancel():
                group.append(first)
            if len(group) == _GROUP or self._waiting.empty():
                return group, True
            first = self._waiting.get()
        return group, False

    def _write(self, group: Sequence[_Work]) -> None:
        ordered = sorted(group, key=lambda work: work.order)
        try:
            with self._database.writing() as connection:
                results = [work.write(connection) for work in ordered]
                self._last(connection, results)
        except Exception as error:
            if len(group) > 1:
                if not isinstance(error, StorageError):
                    _log.debug("A group of writes failed; each is tried by itself. %s", error)
                for work in ordered:
                    self._write([work])
                return
            group[0].future.set_exception(error)
            return
        for work, result in zip(ordered, results, strict=True):
            work.future.set_result(result)
