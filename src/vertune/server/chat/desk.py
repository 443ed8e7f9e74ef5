"""What people do with conversations: take them, write, give them back, end them, and say what would have been right; knows no endpoint."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from vertune.core.app import Request
from vertune.core.errors import Conflict, NotFound
from vertune.server.chat.keeping import Outcome, Talk
from vertune.server.chat.steps import Step
from vertune.server.chat.talking import Talking
from vertune.store import conversations


class Desk:
    """The people who answer, in the event loop of the server."""

    def __init__(self, talking: Talking) -> None:
        self._talking, self._keeper = talking, talking.keeper

    async def take(self, id: str, person: str) -> Outcome:
        """Let a person answer from now on; raise Conflict if another person does."""

        async def decide(talk: Talk) -> Step | Outcome:
            conversation = talk.conversation
            if conversation.stage == "agent" and conversation.agent == person:
                return Outcome(conversation, [], new=False)
            if conversation.stage == "closed":
                raise talk.refuse(_closed())
            if conversation.stage == "agent":
                raise talk.refuse(Conflict(f"'{conversation.agent}' has this conversation; only one person answers. Take another one."))
            step = Step.of(conversation)
            step.happen("taken")
            step.values |= {"stage": "agent", "agent": person, "queued": None}
            return step

        return await self._keeper.change(id, decide)

    async def write(self, id: str, person: str, message: str, text: str) -> Outcome:
        """Add what a person writes; a message with an id that was sent before is not added again."""
        own, digest = f" agent {message}", hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

        async def decide(talk: Talk) -> Step | Outcome:
            conversation = talk.conversation
            if (noted := talk.messages.get(own)) is not None:
                if noted.digest != digest:
                    raise Conflict(f"The id '{message}' was used for another message. Send each message with its own id.")
                turns = await self._talking.turns_after(id, noted.number - 1)
                return Outcome(conversation, turns[:1], new=False)
            _require(talk, person)
            step = Step.of(conversation)
            step.agent_says(own, text, digest)
            return step

        return await self._keeper.change(id, decide)

    async def give_back(self, id: str, person: str) -> Outcome:
        """Let the app answer again; it says so. It hands over again only after the visitor has written something."""

        async def decide(talk: Talk) -> Step | Outcome:
            conversation = talk.conversation
            if conversation.stage == "bot":
                return Outcome(conversation, [], new=False)
            _require(talk, person, waiting=True)
            step = Step.of(conversation)
            step.happen("returned")
            step.values |= {"stage": "bot", "agent": None, "queued": None, "reasons": []}
            request = Request("", conversation.language, event="returned", at=time.time(), known=conversation.known)
            product, reply, state = await self._talking.reply(conversation, request)
            step.reply(reply, state, product.artifact.id)
            return step

        return await self._keeper.change(id, decide)

    async def close(self, id: str, person: str | None) -> Outcome:
        """End a conversation; None as the person is the server itself, which ends those in which nothing happens."""

        async def decide(talk: Talk) -> Step | Outcome:
            conversation = talk.conversation
            if conversation.stage == "closed":
                return Outcome(conversation, [], new=False)
            if person is not None:
                _require(talk, person, waiting=True)
            step = Step.of(conversation)
            step.happen("closed")
            await self._talking.end(step)
            return step

        return await self._keeper.change(id, decide)

    async def label(self, id: str, number: int, value: dict[str, Any]) -> None:
        """Note what would have been right for a message; raise NotFound if the turn is none of a visitor."""
        if not await self._keeper.write(id, lambda connection: conversations.label(connection, id, number, value)):
            raise NotFound(f"The turn {number} of the conversation is no message of a visitor. Name one that is.")


def _require(talk: Talk, person: str, waiting: bool = False) -> None:
    """Raise Conflict unless this person answers, or with `waiting` nobody does yet."""
    conversation = talk.conversation
    if conversation.stage == "closed":
        raise talk.refuse(_closed())
    if (conversation.stage != "agent" or conversation.agent != person) and not (waiting and conversation.stage == "waiting"):
        who = f"'{conversation.agent}'" if conversation.stage == "agent" else "no person"
        raise talk.refuse(Conflict(f"This conversation is answered by {who}; expected '{person}'. Take it first."))


def _closed() -> Conflict:
    return Conflict("The conversation is closed; expected an open one. Choose another one.")
