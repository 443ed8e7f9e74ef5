"""Ends conversations in which nothing happens, deletes old ones, and answers messages that wait for nobody; does not depend on HTTP."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from vertune.server.chat.desk import Desk
from vertune.server.chat.looking import Looking
from vertune.server.chat.talking import Talking
from vertune.server.settings import ChatSettings
from vertune.store import conversations
from vertune.store.database import format_time

INTERVAL = 1.0
"""Seconds between two looks at messages that wait; what is old is looked for less often."""
_WAITING = timedelta(seconds=1)
"""Time after which a message that is next is answered by any server, because the one that took it may have died."""
_AT_ONCE = 8
"""Number of conversations in which such messages are answered at the same time; the others wait for their turn."""
_OLD_EVERY = 60
"""Number of looks after which old conversations are looked for."""
_STEP = 100
"""Maximum number of conversations that one transaction deletes."""


class Tidying:
    """What a server does with conversations without being asked, in its event loop."""

    def __init__(self, talking: Talking, desk: Desk, settings: ChatSettings) -> None:
        self._talking, self._desk, self._settings = talking, desk, settings
        self._looks = 0
        self._looking = Looking("Conversations can't be tidied up", self._look, INTERVAL, lambda: talking.keeper.stopped)
        self.open: dict[tuple[str, str], int] = {}
        """The numbers of open conversations by app and stage, for the metrics; as they were some seconds ago."""
        self.waiting: dict[str, str] = {}
        """By app, since when the conversation waits for a person that has waited longest."""

    def start(self) -> None:
        """Begin to look."""
        self._looking.start()

    def stop(self) -> None:
        """Stop to look."""
        self._looking.stop()

    async def _look(self) -> None:
        looks, self._looks = self._looks, self._looks + 1
        await self.answer_waiting()
        if looks % 10 == 0:
            self.open = await self._talking.keeper.read(conversations.counts)
            self.waiting = await self._talking.keeper.read(conversations.longest_waiting)
        if looks % _OLD_EVERY == 0:
            await self.end_idle()
            await self.delete_old()

    async def answer_waiting(self) -> None:
        """Answer messages that wait and are next, because the server that took them has not."""
        before = _ago(_WAITING)
        due = await self._talking.keeper.read(lambda connection: conversations.due_early(connection, before))
        random.shuffle(due)  # several servers look at the same time
        few = asyncio.Semaphore(_AT_ONCE)

        async def answer(id: str) -> None:
            async with few:
                await self._talking.catch_up(id)

        await asyncio.gather(*map(answer, due))

    async def end_idle(self) -> None:
        """End conversations in which nothing happened for too long."""
        before = _ago(timedelta(hours=self._settings.idle_hours))
        for id in await self._talking.keeper.read(lambda connection: conversations.idle(connection, before)):
            await self._desk.close(id, None)

    async def delete_old(self) -> None:
        """Delete conversations that ended too long ago."""
        before = _ago(timedelta(days=self._settings.days))

        def delete(connection: Connection) -> int:
            return conversations.remove(connection, conversations.older(connection, before, _STEP))

        while await self._talking.keeper.write("", delete) == _STEP:
            await asyncio.sleep(0.1)


def _ago(time: timedelta) -> str:
    return format_time(datetime.now(UTC) - time)
