"""Brings messages of other channels to apps, and replies to them, through adapters of the operator; knows no channel.

An adapter posts a signed message, and gets signed posts with what the app or a person says. It may get one twice, with the same id, if a
server died after sending it. Turns of a conversation are sent in their order, and none before the earlier ones have arrived.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection

from vertune.core import webhooks
from vertune.core.errors import NotFound, Unavailable, VertuneError
from vertune.server.chat.file import Adapter, ChatFile
from vertune.server.chat.keeping import Outcome
from vertune.server.chat.looking import Looking
from vertune.server.chat.messages import Message
from vertune.server.chat.talking import Beginning, Talking
from vertune.server.chat.views import visitor_turn
from vertune.store import conversations
from vertune.store.conversations import Conversation, Turn

_log = logging.getLogger("vertune")
INTERVAL = 0.5
"""Seconds between two looks for turns that were not sent yet."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
"""Seconds until a failed post is tried again, and the maximum to which this time is doubled."""
_SENT = frozenset({"bot", "agent"})


class Adapters:
    """The adapters of one server, in its event loop and in threads."""

    def __init__(self, talking: Talking, file: ChatFile) -> None:
        self._talking, self._adapters = talking, file.adapters
        self._out = [name for name, adapter in file.adapters.items() if adapter.send_to is not None]
        """The adapters to which replies are posted."""
        self._pauses: dict[str, tuple[float, float]] = {}
        """By conversation, when it is tried again by a clock that nobody can set, and the length of the pause."""
        self._looking = Looking("Replies for other channels can't be looked for", self._send_all, INTERVAL, lambda: talking.keeper.stopped)

    def start(self) -> None:
        """Begin to send what other channels are to get."""
        if self._out:
            self._looking.start()

    def stop(self) -> None:
        """Stop to send."""
        self._looking.stop()

    def get(self, app: str, name: str) -> Adapter:
        """Return the adapter with this name; raise NotFound if there is none of this app."""
        adapter = self._adapters.get(name)
        if adapter is None or adapter.app != app:
            raise NotFound(f"There is no adapter '{name[:80]}' of the app '{app[:80]}'. Ask the operator of the server for its name.")
        return adapter

    async def take(self, name: str, sender: str, message: Message) -> tuple[Outcome, bool]:
        """Take a message of a sender, and return what answers it, with whether the answer is posted."""
        adapter = self._adapters[name]
        conversation = await self._conversation(name, adapter, sender)
        return await self._talking.say(conversation.id, message, None), adapter.send_to is not None

    async def _conversation(self, name: str, adapter: Adapter, sender: str) -> Conversation:
        """Return the open conversation with a sender, which begins now if there is none."""
        keeper = self._talking.keeper
        for _ in range(2):
            found = await keeper.read(lambda connection: conversations.of_sender(connection, name, sender))
            if found is not None and found.stage != "closed":
                return found
            if found is not None:
                await keeper.write(found.id, partial(conversations.leave_sender, id=found.id))
            beginning = Beginning(adapter.app, adapter.customer, language=adapter.language, channel=name, sender=sender)
            try:
                return (await self._talking.begin(beginning))[0]
            except Unavailable:  # another server has begun it meanwhile
                continue
        raise Unavailable("The conversation could not be begun; another server began it and it has ended. Send the message again.")

    async def _send_all(self) -> None:
        waiting = await self._talking.keeper.read(lambda connection: conversations.unsent(connection, self._out))
        moment = time.monotonic()
        due = [one for one in waiting if self._pauses.get(one.id, (0.0, 0.0))[0] <= moment]
        self._pauses = {one.id: self._pauses[one.id] for one in waiting if one.id in self._pauses}
        await asyncio.gather(*(self._send(one) for one in due))

    async def _send(self, conversation: Conversation) -> None:
        """Post the turns of a conversation that its adapter has not got, one after the other."""
        keeper, adapter = self._talking.keeper, self._adapters[conversation.channel or ""]
        for turn in await self._talking.turns_after(conversation.id, conversation.delivered):
            if turn.author in _SENT or turn.action == "closed":
                try:
                    await keeper.compute(_post, adapter, conversation, turn)
                except VertuneError as error:
                    pause = min(_LONGEST_PAUSE, 2 * self._pauses.get(conversation.id, (0.0, _FIRST_PAUSE / 2))[1])
                    self._pauses[conversation.id] = (time.monotonic() + pause, pause)
                    _log.warning("A reply could not be sent, and is sent again in %g s. %s", pause, error)
                    return
            await keeper.write(conversation.id, _noting(conversation.id, turn))
        self._pauses.pop(conversation.id, None)


def _noting(id: str, turn: Turn) -> Any:
    def note(connection: Connection) -> None:
        conversations.delivered(connection, id, turn.number)
        if turn.action == "closed":
            conversations.leave_sender(connection, id)

    return note


def _post(adapter: Adapter, conversation: Conversation, turn: Turn) -> None:
    """Post a turn to an adapter; raise Unavailable unless it takes it."""
    assert adapter.send_to is not None
    about = {"app": conversation.app, "adapter": conversation.channel, "conversation": conversation.id, "to": conversation.sender}
    body = orjson.dumps({**about, "stage": conversation.stage, "turn": visitor_turn(turn)})
    what = f"The adapter '{conversation.channel}'"
    headers = webhooks.signed_headers(f"{conversation.id}-{turn.number}", body, adapter.secret(what))
    status = webhooks.post(adapter.send_to, body, headers, adapter.timeout, what=what).status
    if not 200 <= status < 300:
        raise Unavailable(f"{what} answered with status {status}; expected 200 to 299. Check its address, and what it expects.")
