"""Writes finished requests into the database in groups, in a thread, so that no request waits for a disk; knows nothing of models.

Nobody waits for what is written here, so nobody could send it again: a group that fails is kept and tried again, loses rows but never
usage where memory ends, and is never written twice. `store/grouped.py` is for callers that wait, and hands a failure to them at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import DataError, IntegrityError

from vertune.core.errors import StorageError
from vertune.core.ids import time_ordered_id
from vertune.store import schema
from vertune.store.database import Database, insert
from vertune.store.traffic import Amounts, Entry, Used, add_usage, total, write

_log = logging.getLogger("vertune")
Item = TypeVar("Item")
INTERVAL = 0.25
"""Seconds between two groups; the most that is lost when the process is killed."""
_GROUP = 1000
"""Maximum number of requests in one transaction, so that other writers wait for a short time."""
_GROUP_SIZE = 4 << 20
"""Size of the requests of one transaction, at which no further one is added to it."""
_CAPACITY = 64 << 20
"""Maximum size of the requests that wait to be written; others are only counted in the usage."""
_RETRY = 1.0
"""Seconds until a failed transaction is tried again."""
_LOCK_WAIT = 0.1
"""Seconds that such an attempt waits for the lock of another process."""
_CLOSING = 5.0
"""Maximum seconds to write what is left when the server stops."""


@dataclass(frozen=True, slots=True)
class Described(Generic[Item]):
    """How a writer reads what it is given."""

    entry: Callable[[Item], Entry]
    """Returns the rows of a request; called in the thread of the writer."""
    usage: Callable[[Item], Mapping[Used, Amounts]]
    """Returns what a request adds to usage; must be fast."""
    size: Callable[[Item], int]
    """Returns about how many bytes the request takes; must be fast."""


class Writer(Generic[Item]):
    """Collects finished requests and writes them in groups.

    Usage is counted for every request, however long the database can't be written; only the rows of requests may be given up. A group is
    written completely or not at all, and never twice: each transaction leaves its number in the database, so that a writer whose
    connection was lost knows whether its last one took effect.
    """

    def __init__(
        self, database: Database, described: Described[Item], between: Callable[[], object] = lambda: None,
        written: Callable[[Sequence[Mapping[Used, Amounts]]], None] = lambda usage: None,
    ) -> None:  # fmt: skip
        """`between` is called after each group, and `written` with the usage of all that a transaction wrote; both in the thread."""
        self._database, self._described, self._between, self._written = database, described, between, written
        self._waiting: deque[tuple[Item, int]] = deque()
        """What waits to be written, each with its size."""
        self._prepared: deque[tuple[Entry, int]] = deque()
        """The rows of what waited longest, made while the database could not be written, each with its size."""
        self._size = 0
        """The size of what waits."""
        self._lock = threading.Lock()
        """Guards `_size` and `_given_up`."""
        self._unwritten: list[Entry] = []
        """A group that could not be written yet."""
        self._counted: dict[Used, Amounts] = {}
        """Usage that is written with the group: that of requests whose rows were given up."""
        self._given_up: dict[Used, Amounts] = {}
        """Such usage that is written with a later group, because the present one may be written already."""
        self._marker, self._number = f"writer {time_ordered_id()}", 0
        self._uncertain = False
        """Whether the last attempt failed in a way that leaves open whether the group was written."""
        self.dropped = 0
        """How many requests are counted in the usage but not stored, because the database could not be written, or not fast enough."""
        self.failure = ""
        """Why the last group could not be written; empty if it could be."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vertune-writer", daemon=True)

    def add(self, item: Item) -> None:
        """Take a finished request; returns at once."""
        size = self._described.size(item)
        with self._lock:
            full = self._size + size > _CAPACITY
            if full:
                self._given_up = total([self._given_up, self._described.usage(item)])
                self.dropped += 1
            else:
                self._size += size
                self._waiting.append((item, size))

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

    def waits(self, added: Callable[[Item], bool], grouped: Callable[[Entry], bool]) -> bool:
        """Return whether a request is not written yet: one that was added and is such, or whose entry in the present group is such."""
        # in the order in which a request may move meanwhile
        if any(added(item) for item, _ in tuple(self._waiting)) or any(grouped(entry) for entry, _ in tuple(self._prepared)):
            return True
        return any(map(grouped, tuple(self._unwritten)))

    @property
    def _unfinished(self) -> bool:
        return bool(self._waiting or self._prepared or self._unwritten or self._counted or self._given_up)

    def _run(self) -> None:
        end = float("inf")
        while time.monotonic() < end:
            written = self._write_group()
            if self._stopping.is_set():
                end = min(end, time.monotonic() + _CLOSING)
                if not self._unfinished:
                    break
            if not written:
                retry = time.monotonic() + _RETRY
                while self._waiting and time.monotonic() < retry and not self._stopping.is_set():
                    self._prepare()
                self._stopping.wait(max(0.0, retry - time.monotonic()))
                if self._stopping.is_set():
                    time.sleep(0.1)
            elif len(self._waiting) + len(self._prepared) < _GROUP and self._size < _GROUP_SIZE:
                self._call_between()
                self._stopping.wait(INTERVAL)
        self._forget_marker()

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
            self._next_group()
        if not (self._unwritten or self._counted):
            return True
        usage = [entry.usage for entry in self._unwritten] + [self._counted]
        try:
            self._commit()
        except Exception as error:
            self._suffer(error)
            return False
        if self.failure:
            _log.warning("Requests are stored again; %d were only counted in the usage.", self.dropped)
        self._unwritten, self._counted, self.failure, self._uncertain = [], {}, "", False
        self._number += 1
        self._written(usage)
        return True

    def _next_group(self) -> None:
        """Move waiting requests, and usage without rows, to a new group."""
        with self._lock:
            self._counted, self._given_up = self._given_up, {}
        size = 0
        while (self._prepared or self._waiting) and len(self._unwritten) < _GROUP and size < _GROUP_SIZE:
            if not self._prepared:
                self._prepare()
                continue
            entry, taken = self._prepared[0]
            self._unwritten.append(entry)
            size += taken
            with self._lock:
                self._size -= taken
            self._prepared.popleft()  # last, so that at each moment a request is in one of the places at least

    def _prepare(self) -> None:
        """Make the rows of the request that waited longest."""
        time.sleep(0)  # lets the thread that answers requests go on at once, which would otherwise wait for the interpreter for 5 ms
        item, size = self._waiting[0]
        try:
            self._prepared.append((self._described.entry(item), size))
        except Exception:
            _log.exception("A request could not be stored; it is counted in the usage.")
            with self._lock:
                self._given_up = total([self._given_up, self._described.usage(item)])
                self._size -= size
            self.dropped += 1
        self._waiting.popleft()  # last, as above

    def _commit(self) -> None:
        # a lock that was missed once is not waited for long, because rows are made between two attempts
        with self._database.writing(_LOCK_WAIT if self.failure else None) as connection:
            if self._uncertain and self._is_written(connection):
                return
            write(connection, self._unwritten)
            add_usage(connection, [self._counted])
            row = {"name": self._marker, "value": str(self._number)}
            statement = insert(connection, schema.revisions).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=[schema.revisions.c.name], set_=row))

    def _is_written(self, connection: Connection) -> bool:
        """Return whether the last attempt took effect although it failed, because the connection was lost afterwards."""
        column = schema.revisions.c
        return connection.scalar(select(column.value).where(column.name == self._marker)) == str(self._number)

    def _suffer(self, error: Exception) -> None:
        """Remember why a group could not be written, to try it again; give up the rows of one that the database will never take."""
        if not isinstance(error, StorageError) or isinstance(error.__cause__, IntegrityError | DataError):
            _log.error("%d requests could not be stored; they are counted in the usage.", len(self._unwritten), exc_info=error)
            self.dropped += len(self._unwritten)
            with self._lock:
                self._given_up = total([self._given_up, self._counted, *(entry.usage for entry in self._unwritten)])
            self._unwritten, self._counted, self._uncertain = [], {}, False
            return
        if not self.failure:
            _log.error("Requests can't be stored; they are answered and counted, and stored later if there are not too many. %s", error)
        self.failure, self._uncertain = str(error), True

    def _forget_marker(self) -> None:
        """Delete the number of the last transaction, which nobody asks for any more."""
        try:
            with self._database.writing() as connection:
                connection.execute(schema.revisions.delete().where(schema.revisions.c.name == self._marker))
        except Exception as error:
            _log.debug("The mark of this process stays in the database. %s", error)
