"""Rows that each request needs, cached in memory and read again soon after a process changed them; knows nothing of their meaning.

The cache is `REVOCATION_DELAY` seconds old at most. What another process withdraws may therefore be accepted for this time.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Generic, TypeVar

from sqlalchemy import Connection, select

from vertune.core.errors import StorageError, Unavailable
from vertune.store import schema
from vertune.store.database import Database, insert

_log = logging.getLogger("vertune")
REVOCATION_DELAY = 0.5
"""Seconds for which cached rows are used before the database is queried again."""
_REFRESH_INTERVAL = 0.2
"""Seconds between the queries of the thread that keeps the cache up to date."""
_MAX_ROWS_AGE = 5.0
"""Seconds after which all rows are read again, even if no process of vertune has changed them."""
_MAX_AGE_WHILE_UNREADABLE = 60.0
"""Seconds for which cached rows are used while the database can't be read; after that, nothing is accepted."""
MIN_QUERY_INTERVAL = 0.005
"""Minimum seconds between two queries, so that attempts to guess a secret do not overload the database."""
_READ_TIMEOUT = 0.05
"""Seconds for which a request waits for the database, at most."""
_REFRESH_TIMEOUT = 0.5
"""Seconds for which a request waits for the thread that reads the rows, at most, unless the database is known to fail."""
Rows = TypeVar("Rows")


def touch(connection: Connection, name: str) -> None:
    """Let all processes notice that the rows of this name are changed in this transaction.

    Call it first: in PostgreSQL, this lets one process after the other change them.
    """
    row = {"name": name, "value": secrets.token_hex(8)}
    added = insert(connection, schema.revisions).values(row)
    connection.execute(added.on_conflict_do_update(index_elements=["name"], set_={"value": row["value"]}))


class Cached(ABC, Generic[Rows]):
    """All rows of some tables; safe for use from many threads and processes."""

    revision: ClassVar[str]
    """The name under which the table `revisions` has the random value that changes with these rows."""
    what: ClassVar[str]
    """What the rows are, in messages, such as `API keys`."""

    def __init__(self, database: Database, rows: Rows) -> None:
        """`rows` are used until they are read from the database for the first time."""
        self.database = database
        self._rows = rows
        self._revision: str | None = None
        self._read_at = self._current_at = -float("inf")
        """The monotonic times at which all rows were read, and at which they were last known to be current."""
        self._failure: StorageError | None = None
        """Why the last query failed; None if it did not."""
        self._refreshing = threading.Lock()
        self._refreshed = threading.Condition()
        self._wanted = threading.Event()
        self._watcher: threading.Thread | None = None
        self._closed = False

    @abstractmethod
    def _read(self, connection: Connection) -> Rows:
        """Return all rows, as the database has them."""

    def _tend(self) -> None:
        """Do what is to be done now and then by the thread that keeps the cache up to date."""

    def watch(self) -> None:
        """Keep the cache up to date in a thread, so that requests never wait for the database, except for what is unknown."""
        self._watcher = threading.Thread(target=self._watch, name=f"vertune-{self.revision}", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._closed:
            try:
                self._refresh()
                self._tend()
            except Exception as error:  # whatever it is, the thread must go on
                if self._failure is None:
                    _log.error("%s can't be read; known ones are accepted for %g s more. %s", self.what, _MAX_AGE_WHILE_UNREADABLE, error)
                unknown = StorageError(f"{self.what} can't be read: {error}. Try again.")
                self._failure = error if isinstance(error, StorageError) else unknown
            with self._refreshed:
                self._refreshed.notify_all()
            self._wanted.wait(_REFRESH_INTERVAL)
            self._wanted.clear()
            if self._failure is not None:
                time.sleep(_REFRESH_INTERVAL)

    def close(self) -> None:
        """Stop the thread that `watch` started."""
        self._closed = True
        self._wanted.set()
        if self._watcher is not None:
            self._watcher.join()

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """Run the `with` block in a transaction that changes rows, after all were read; other processes notice the change."""
        with self.database.writing() as connection:
            touch(connection, self.revision)
            self._rows = self._read(connection)
            yield connection
        self._refresh()

    def _cached_rows(self) -> Rows:
        """Return all rows, as they were at most `REVOCATION_DELAY` seconds ago, or longer ago while they can't be read.

        Raises StorageError if they could not be read for too long.
        """
        now = time.monotonic()
        if now - self._current_at >= REVOCATION_DELAY:
            self._bring_up_to_date(now)
            if self._current_at < now and now - self._current_at >= _MAX_AGE_WHILE_UNREADABLE:
                raise self._failure or self._unanswered()
        return self._rows

    def _rows_of_now(self) -> Rows:
        """Return all rows, as they are now or a moment later; raises StorageError if they can't be read."""
        now = time.monotonic()
        self._bring_up_to_date(now)
        if self._current_at < now:
            raise self._failure or self._unanswered()
        return self._rows

    def _bring_up_to_date(self, time_of_request: float) -> None:
        """Read the rows if they may have changed by this monotonic time; if that fails, `_current_at` stays before it."""
        if self._watcher is None:
            try:
                self._refresh(_READ_TIMEOUT if self._revision is not None else None, time_of_request)
            except StorageError as error:
                self._failure = error
        elif self._failure is None:
            with self._refreshed:
                self._wanted.set()
                self._refreshed.wait_for(lambda: self._current_at >= time_of_request or self._failure is not None, _REFRESH_TIMEOUT)

    def _unanswered(self) -> StorageError:
        return Unavailable(f"{self.database.name} did not answer in time, so the caller can't be verified. Try again.")

    def _refresh(self, wait: float | None = None, needed: float = float("inf")) -> Rows:
        """Return all rows; they are read from the database if another process may have changed them.

        `wait` is the time in seconds to wait for locks. What another thread read since the monotonic time `needed` is not read again.
        """
        with self._refreshing:
            if self._current_at >= needed:
                return self._rows
            time.sleep(max(self._current_at + MIN_QUERY_INTERVAL - time.monotonic(), 0))
            now = time.monotonic()
            with self.database.reading(wait) as connection:
                revision = connection.scalar(select(schema.revisions.c.value).where(schema.revisions.c.name == self.revision))
                if revision != self._revision or now - self._read_at > _MAX_ROWS_AGE:
                    self._rows = self._read(connection)
                    self._revision, self._read_at = revision, now
            self._current_at, self._failure = now, None
            return self._rows
