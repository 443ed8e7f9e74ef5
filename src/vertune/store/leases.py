"""Leases of work that one of several processes does at a time, by a clock that nobody can set; knows nothing of what the work is.

The holder changes the token of its lease again and again. Another process takes the lease if it sees the same token for the time `LEASE`
by its own monotonic clock: the clocks of two machines may differ, and any clock may be set. A holder that was suspended notices in its
next transaction that it is none any more (`check`).
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from vertune.core.errors import Conflict
from vertune.store import schema
from vertune.store.database import Database, format_time, insert

WATCH = "watch"
"""The work of whoever runs monitors, raises alerts and leads retrainings."""
LEASE = timedelta(seconds=15)
"""How long work stays with a process that gives no sign."""


def is_held(connection: Connection, name: str) -> bool:
    """Return whether a process has this work; until the end of the transaction, its holder waits in `Lease.check`."""
    held = select(schema.leases.c.holder).where(schema.leases.c.name == name).with_for_update()
    return connection.execute(held).scalar() is not None


class Lease:
    """One process's claim to do some work; safe for use from several threads."""

    def __init__(self, database: Database, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns the current time in seconds; it must never go back."""
        self._database, self.name, self._clock = database, name, clock
        self.holder = f"{os.getpid()}-{secrets.token_hex(8)}"
        """The name of this process among those that want the lease."""
        self._seen: tuple[str, float] | None = None
        """The last token of another holder, and when it was first seen."""
        self._looked = -float("inf")
        self._lock = threading.Lock()

    def renew(self) -> bool:
        """Take or extend the lease, and return whether this process has it now; raise StorageError if the database can't be written."""
        with self._lock:
            table, now = schema.leases.c, self._clock()
            with self._database.reading() as connection:
                row = connection.execute(select(schema.leases).where(table.name == self.name)).one_or_none()
            gap, self._looked = now - self._looked, now
            if row is not None and row.holder != self.holder:
                if self._seen is None or self._seen[0] != row.token or gap > LEASE.total_seconds() / 2:
                    self._seen = (row.token, now)  # also if nobody looked for a while: a database that is gone lets no holder extend
                if now - self._seen[1] < LEASE.total_seconds():
                    return False
            return self._take(None if row is None else row.token)

    def _take(self, token: str | None) -> bool:
        values = {"name": self.name, "holder": self.holder, "token": secrets.token_hex(8), "changed": format_time(datetime.now(UTC))}
        with self._database.writing() as connection:
            if token is None:
                taken = connection.execute(insert(connection, schema.leases).values(values).on_conflict_do_nothing())
            else:
                same = (schema.leases.c.name == self.name) & (schema.leases.c.token == token)
                taken = connection.execute(update(schema.leases).where(same).values(values))
            return bool(taken.rowcount)

    def check(self, connection: Connection) -> None:
        """Raise Conflict if another process has the lease; until the end of this transaction, none takes it."""
        mine = select(schema.leases.c.holder).where(schema.leases.c.name == self.name).with_for_update()
        if connection.execute(mine).scalar() != self.holder:
            raise Conflict(f"Another process does the work '{self.name}' now. Start one process, or wait until the other one ends.")

    def release(self) -> None:
        """Give the lease back, so that no other process waits for its end."""
        table = schema.leases.c
        with self._database.writing() as connection:
            connection.execute(delete(schema.leases).where(table.name == self.name, table.holder == self.holder))
