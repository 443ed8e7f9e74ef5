"""Wakes those who wait for new turns of conversations, also of turns that other servers write; reads no turn itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from vertune.server.polling import Polling
from vertune.store import conversations
from vertune.store.database import Database

INTERVAL = 0.5
"""Seconds between two looks for turns that other servers have written."""
_AT_ONCE = 500
"""Number of conversations that one query looks at."""


class Watchers:
    """Those who wait in the event loop of this server, by conversation."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events: dict[str, set[asyncio.Event]] = {}
        self._turns: dict[str, int] = {}
        """The number of the last turn of each watched conversation, as far as it is known."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.polling = Polling("conversations", self._look, lambda: INTERVAL)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look what other servers write."""
        self._loop = loop
        self.polling.start()

    @contextmanager
    def watching(self, id: str) -> Iterator[asyncio.Event]:
        """Return an event that is set when the conversation may have a new turn; the caller clears it."""
        event = asyncio.Event()
        self._events.setdefault(id, set()).add(event)
        try:
            yield event
        finally:
            self._events[id].discard(event)
            if not self._events[id]:
                del self._events[id]
                self._turns.pop(id, None)

    def notify(self, id: str, turn: int) -> None:
        """Wake those who wait for turns of a conversation; called in the event loop."""
        if id in self._events:
            self._turns[id] = max(turn, self._turns.get(id, 0))
            for event in self._events[id]:
                event.set()

    def wake_all(self) -> None:
        """Wake everybody, because the server stops."""
        for events in self._events.values():
            for event in events:
                event.set()

    def _look(self) -> None:
        watched = list(self._events)
        for start in range(0, len(watched), _AT_ONCE):
            with self._database.reading() as connection:
                found = conversations.last_turns(connection, watched[start : start + _AT_ONCE])
            for id, turn in found.items():
                if turn > self._turns.get(id, 0) and self._loop is not None:
                    self._loop.call_soon_threadsafe(self.notify, id, turn)
