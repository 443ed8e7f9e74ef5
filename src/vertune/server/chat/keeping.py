"""Keeps the conversations of one server in memory as far as they are in use, and writes their changes; decides nothing.

What is in memory may be older than what another server wrote. So a change is only written if the conversation has the turn that the
change follows; otherwise the conversation is read, and the change is made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from cachetools import LRUCache
from sqlalchemy import Connection

from vertune.core.errors import Busy, NotFound, VertuneError
from vertune.server.chat.steps import Step
from vertune.server.chat.watchers import Watchers
from vertune.store import conversations
from vertune.store.conversations import Conversation, Turn
from vertune.store.database import Database
from vertune.store.grouped import Grouped
from vertune.store.traffic import Used, add_usage

Result = TypeVar("Result")
_REMEMBERED = 20_000
"""Number of conversations that are kept in memory."""
_ATTEMPTS = 20
"""How often a change is made anew because another server was faster."""
_THREADS = 32
"""Number of messages that apps answer at the same time."""


class Noted(NamedTuple):
    """A message of a visitor that has been stored."""

    number: int
    digest: bytes


class _Written(NamedTuple):
    """What became of a change in the database."""

    done: bool
    usage: Used | None
    """What it adds to the usage."""
    followed: bool
    """Whether the message after it came early, and waits."""


class Outdated(Exception):
    """Raised while a change is made from memory, where the stored conversation must decide."""


@dataclass(slots=True)
class Talk:
    """A conversation in memory."""

    conversation: Conversation
    messages: dict[str, Noted] = field(default_factory=dict)
    """Its messages by their ids."""
    fresh: bool = False
    """Whether it was read just now."""

    def refuse(self, error: VertuneError) -> VertuneError | Outdated:
        """Return an error if the conversation was read just now; what is in memory may be wrong about it."""
        return error if self.fresh else Outdated()


@dataclass(slots=True)
class Outcome:
    """What became of a change."""

    conversation: Conversation
    turns: list[Turn]
    """The turns that answer: new ones, or those that a repeated message has."""
    new: bool = True
    waits: bool = False
    """Whether the message waits for an earlier one."""
    followed: bool = False
    """Whether the message after it came early, to any server, and can be answered now."""


Decide = Callable[[Talk], Awaitable[Step | Outcome]]
"""Makes a change of a conversation, or returns what is to be answered without one."""


class Keeper:
    """The conversations of one server; all methods are called in its event loop."""

    def __init__(self, database: Database, watchers: Watchers) -> None:
        self.database, self.watchers = database, watchers
        self._talks: LRUCache[str, Talk] = LRUCache(_REMEMBERED)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._writer = Grouped(database, "vertune-turns", _count)
        self._pool = ThreadPoolExecutor(_THREADS, "vertune-chat")
        self.stopped = False
        """Whether nothing can be read or written any more."""

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def stop(self) -> None:
        """Write what waits, and end all threads."""
        self.stopped = True
        self._writer.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def compute(self, function: Callable[..., Result], *values: Any) -> Result:
        """Call a function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *values))

    async def read(self, query: Callable[[Connection], Result]) -> Result:
        """Run a query in a thread."""
        return await self.compute(self._query, query)

    async def write(self, id: str, work: Callable[[Connection], Result]) -> Result:
        """Write something that belongs to a conversation; it is on the disk afterwards."""
        return await asyncio.wrap_future(self._writer.submit(id, work))

    async def get(self, id: str) -> Conversation:
        """Return a conversation, from memory if it is there; raise NotFound if there is none."""
        return (await self._talk(id, fresh=False)).conversation

    async def add(self, conversation: Conversation, turns: list[Turn]) -> None:
        """Store a new conversation."""
        await self.write(conversation.id, lambda connection: conversations.add(connection, conversation, turns))
        self._talks[conversation.id] = Talk(conversation)

    async def change(self, id: str, decide: Decide, key: str | None = None) -> Outcome:
        """Change a conversation by what `decide` makes of it; repeat this while other servers are faster.

        With `key`, the id of an API key or an empty text, the change counts as one request in the usage. Raises NotFound if there is no
        such conversation, and Busy if other servers never stop to change it.
        """
        lock = self._locks.setdefault(id, asyncio.Lock())
        async with lock:
            fresh = False
            for _ in range(_ATTEMPTS):
                talk = await self._talk(id, fresh)
                try:
                    step = await decide(talk)
                except Outdated:
                    fresh = True
                    continue
                if isinstance(step, Outcome):
                    return step
                written = await self._commit(step, key)
                if written.done:
                    return self._changed(talk, step, written.followed)
                fresh = True
        raise Busy("Other requests change this conversation all the time. Send the message again.")

    def forget(self, id: str) -> None:
        """Remove a conversation from memory, because it was deleted."""
        self._talks.pop(id, None)

    async def _commit(self, step: Step, key: str | None) -> _Written:
        change, conversation = step.change(), step.conversation
        used = None if key is None else Used(f"{datetime.now(UTC):%Y-%m-%d}", conversation.customer, key, conversation.app)
        sequence = change.values.get("sequence")

        def write(connection: Connection) -> _Written:
            done = conversations.apply(connection, change)
            followed = done and sequence is not None and conversations.is_early(connection, change.conversation, sequence + 1)
            return _Written(done, used, followed)

        try:
            return await self.write(change.conversation, write)
        except BaseException:  # it may have been written all the same
            self.forget(change.conversation)
            raise

    def _changed(self, talk: Talk, step: Step, followed: bool) -> Outcome:
        conversation = step.after()
        for turn in step.turns:
            if turn.message is not None:
                talk.messages[turn.message] = Noted(turn.number, turn.digest or b"")
        if conversation.stage == "closed":
            self.forget(conversation.id)
        else:
            self._talks[conversation.id] = Talk(conversation, talk.messages)
        self.watchers.notify(conversation.id, conversation.turn)
        return Outcome(conversation, step.turns, followed=followed)

    async def _talk(self, id: str, fresh: bool) -> Talk:
        talk = None if fresh else self._talks.get(id)
        if talk is None:
            talk = await self.read(lambda connection: _read(connection, id))
            self._talks[id] = Talk(talk.conversation, talk.messages)
        return talk

    def _query(self, query: Callable[[Connection], Result]) -> Result:
        with self.database.reading() as connection:
            return query(connection)


def _read(connection: Connection, id: str) -> Talk:
    """Return a conversation as it is stored, with the ids of its messages."""
    conversation = conversations.get(connection, id)
    if conversation is None:
        raise NotFound(f"There is no conversation '{id[:32]}', or it was deleted. Start a new one.")
    messages = conversations.messages_of(connection, id)
    return Talk(conversation, {name: Noted(*about) for name, about in messages.items()}, fresh=True)


def _count(connection: Connection, results: Any) -> None:
    """Add what the changes of one transaction are to the usage, after all of them, so that two servers wait in one order."""
    parts: list[Mapping[Used, tuple[int, int, int, int]]] = [
        {one.usage: (1, 1, 0, 0)} for one in results if isinstance(one, _Written) and one.done and one.usage is not None
    ]
    add_usage(connection, parts)
