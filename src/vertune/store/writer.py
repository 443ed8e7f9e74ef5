"""Writes finished requests into the database in groups, in a thread, so that no request waits for a disk; knows nothing of models."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DataError, IntegrityError

from vertune.core.errors import StorageError
from vertune.store import schema
from vertune.store.database import Database
from vertune.store.traffic import Entry, Used, add_usage, write

_log = logging.getLogger("vertune")
Item = TypeVar("Item")
INTERVAL = 0.25
"""Seconds between two groups; the most that is lost when the process is killed."""
_GROUP = 1000
"""Maximum number of requests in one transaction, so that other writers wait for a short time."""
_CAPACITY = 20_000
"""Maximum number of requests that wait to be written; while the database can't be written, later ones are only counted in the usage."""
_RETRY = 1.0
"""Seconds until a failed transaction is tried again."""
_CLOSING = 5.0
"""Maximum seconds to write what is left when the server stops."""


class Writer(Generic[Item]):
    """Collects finished requests and writes them in groups.

    Usage is counted for every request, however long the database can't be written; only the rows of requests may be given up. A group is
    written completely or not at all, and never twice.
    """

    def __init__(self, database: Database, entry_of: Callable[[Item], Entry], between: Callable[[], object] = lambda: None) -> None:
        """`entry_of` makes the rows of a request, in the thread of this object; `between` is called there after each group."""
        self._database, self._entry_of, self._between = database, entry_of, between
        self._waiting: deque[Item] = deque()
        self._unwritten: list[Entry] = []
        """A group that could not be written yet."""
        self._uncertain = False
        """Whether the last attempt failed in a way that leaves open whether the group was written."""
        self._counted: list[Entry] = []
        """Usage that is written with the group: that of requests whose rows were given up."""
        self._given_up: list[Entry] = []
        """Such usage that is written with a later group, because the present one may be written already."""
        self.dropped = 0
        """How many requests are counted in the usage but not stored, because the database could not be written."""
        self.failure = ""
        """Why the last group could not be written; empty if it could be."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vertune-writer", daemon=True)

    def add(self, item: Item) -> None:
        """Take a finished request; returns at once."""
        self._waiting.append(item)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and end the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSING + 1)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all requests that were added before are written; return whether they are."""
        end = time.monotonic() + timeout
        while self._unfinished and time.monotonic() < end:
            time.sleep(0.01)
        return not self._unfinished

    @property
    def _unfinished(self) -> bool:
        return bool(self._waiting or self._unwritten or self._counted or self._given_up)

    def _run(self) -> None:
        end = float("inf")
        while time.monotonic() < end:
            written = self._write_group()
            if self._stopping.is_set():
                end = min(end, time.monotonic() + _CLOSING)
                if not self._unfinished:
                    return
            if not written:
                self._stopping.wait(_RETRY)
                if self._stopping.is_set():
                    time.sleep(0.1)
            elif len(self._waiting) < _GROUP:
                self._call_between()
                self._stopping.wait(INTERVAL)

    def _call_between(self) -> None:
        try:
            self._between()
        except StorageError as error:  # a database that can't be written is told where a group is written
            _log.debug("What is done between two groups of requests failed. %s", error)
        except Exception:
            _log.exception("What is done between two groups of requests failed.")

    def _write_group(self) -> bool:
        """Write a group of the waiting requests, and return whether the database took it."""
        if not self._unwritten and not self._counted:
            self._counted, self._given_up = self._given_up, []
            self._take(self._unwritten)
        if not (self._unwritten or self._counted):
            return True
        try:
            self._commit()
        except StorageError as error:
            if isinstance(error.__cause__, IntegrityError | DataError):  # would fail again, and must not stop those that follow
                self._drop(self._unwritten, error)
                return False
            if not self.failure:
                _log.error("Requests can't be stored; they are answered and counted, and stored later if there are not too many. %s", error)
            self.failure, self._uncertain = str(error), True
            self._give_up()
            return False
        if self.failure:
            _log.warning("Requests are stored again; %d were only counted in the usage.", self.dropped)
        self._unwritten, self._counted, self.failure, self._uncertain = [], [], "", False
        return True

    def _take(self, group: list[Entry]) -> None:
        """Move waiting requests to a group."""
        while self._waiting and len(group) < _GROUP:
            try:
                group.append(self._entry_of(self._waiting[0]))
            except Exception:
                _log.exception("A request could not be stored.")
                self.dropped += 1
            self._waiting.popleft()  # last, so that at each moment a request is in one of the two places at least

    def _commit(self) -> None:
        with self._database.writing() as connection:
            if self._uncertain and self._unwritten:
                ids = select(schema.requests.c.id).where(schema.requests.c.id == self._unwritten[0].request["id"])
                if connection.scalar(ids) is not None:  # the connection was lost after the group was written
                    return
            write(connection, self._unwritten)
            add_usage(connection, (entry.usage for entry in self._counted))

    def _give_up(self) -> None:
        """While too many requests wait, keep only the usage of the oldest ones."""
        while len(self._waiting) > _CAPACITY:
            group: list[Entry] = []
            self._take(group)
            self._count_only(group)

    def _drop(self, group: list[Entry], error: StorageError) -> None:
        """Count the requests of a group that the database refuses, without their rows."""
        _log.error("%d requests could not be stored; they are counted in the usage. %s", len(group), error)
        self._count_only([*self._counted, *group])
        self._unwritten, self._counted, self._uncertain = [], [], False

    def _count_only(self, entries: list[Entry]) -> None:
        """Keep the usage of requests for a later group, as one sum."""
        self.dropped += sum(bool(entry.request) for entry in entries)
        totals: dict[Used, tuple[int, int, int, int]] = {}
        for entry in [*self._given_up, *entries]:
            for used, amounts in entry.usage.items():
                before = totals.get(used, (0, 0, 0, 0))
                totals[used] = (before[0] + amounts[0], before[1] + amounts[1], before[2] + amounts[2], before[3] + amounts[3])
        self._given_up = [Entry({}, [], totals)]
