"""Takes messages of visitors in their order, each once, and lets apps answer them; does not depend on HTTP.

A message is answered in this order: the app replies in a thread; then the message, the reply, the new state and what the reply asks for are
one transaction; only then is the reply sent. A message that is sent again, to this server or another one, gets the stored reply.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from vertune.core.app import Reply, Request, Said
from vertune.core.errors import Busy, Conflict, NotFound, VertuneError
from vertune.core.ids import time_ordered_id
from vertune.products.product import Product
from vertune.server.chat.keeping import Keeper, Outcome, Talk
from vertune.server.chat.live import LiveProducts
from vertune.server.chat.messages import KeptTexts, Message
from vertune.server.chat.metrics import ChatMetrics
from vertune.server.chat.steps import Step, now
from vertune.server.settings import ChatSettings
from vertune.server.texts import masked_name
from vertune.store import conversations
from vertune.store.conversations import Conversation, Turn

_log = logging.getLogger("vertune")
_LAST = 10
"""Number of turns in which the button that was pressed may stand."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a conversation begins."""

    app: str
    customer: str
    key: str | None = None
    language: str | None = None
    visitor: str | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    channel: str | None = None
    sender: str | None = None


class Talking:
    """The conversations of visitors; all methods are called in the event loop of the server."""

    def __init__(
        self, keeper: Keeper, products: LiveProducts, texts: KeptTexts, settings: ChatSettings, metrics: ChatMetrics
    ) -> None:  # fmt: skip
        self.keeper, self.products, self.texts = keeper, products, texts
        self._settings, self._metrics = settings, metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self.acts: Callable[[], None] = lambda: None
        """Called when an action was stored that is due at once."""

    async def begin(self, beginning: Beginning) -> tuple[Conversation, str, list[Turn]]:
        """Begin a conversation; return it, the secret of its visitor, and what the app says first."""
        product = self.products.get(beginning.app)
        token, moment = secrets.token_urlsafe(24), now()
        conversation = Conversation(
            time_ordered_id(), beginning.app, beginning.customer, beginning.key, masked_name(beginning.visitor),
            language=beginning.language, token=_hash(token), state={}, known=dict(beginning.known), turn=0, sequence=0, stage="bot",
            agent=None, reasons=[], queued=None, changed=moment, summary=None, satisfaction=None, comment=None,
            channel=beginning.channel, sender=beginning.sender, delivered=0,
        )  # fmt: skip
        step = Step.of(conversation)
        greeting = product.greeting(beginning.language, known=conversation.known)
        if greeting is not None:
            step.reply(greeting, {}, product.artifact.id)
        conversation = step.after()
        await self.keeper.add(conversation, step.turns)
        self._metrics.begun(conversation.app)
        return conversation, token, step.turns

    async def of_visitor(self, app: str, id: str, token: str, customer: str | None) -> Conversation:
        """Return the conversation of a visitor; raise NotFound if there is none with this secret, of this app and customer."""
        found = await self.keeper.get(id) if len(id) == len(time_ordered_id()) else None
        if (
            found is None
            or not hmac.compare_digest(found.token, _hash(token))
            or found.app != app
            or customer not in (None, found.customer)
        ):
            raise NotFound(f"There is no conversation '{id[:32]}' of the app '{app[:80]}' with this secret. Start a new one.")
        return found

    async def say(self, id: str, message: Message, key: str | None) -> Outcome:
        """Take a message, and return what answers it; `key` is the id of the API key, for the usage.

        Raises Conflict if the conversation is closed, or if its id or number belongs to another message; Busy if too many messages wait.
        """
        outcome = await self.keeper.change(id, lambda talk: self._answer(talk, message), key or "")
        if outcome.new and not outcome.waits:
            self._count(outcome)
            if outcome.followed:
                self._catch_up_later(id)
        return outcome

    async def catch_up(self, id: str) -> None:
        """Answer the messages of a conversation that came early and are next now; log why, if that fails."""
        try:
            while await self._answer_early(id):
                pass
            await self.keeper.write(id, lambda connection: conversations.remove_answered_early(connection, id))
        except VertuneError as error:
            _log.info("Messages of a conversation that came early are answered later. %s", error)
        except Exception:
            _log.exception("Messages of a conversation that came early could not be answered.")

    async def _answer_early(self, id: str) -> bool:
        """Answer the message that waits and is next, if there is one; return whether the one after it waits too."""
        conversation = await self.keeper.read(lambda connection: conversations.get(connection, id))
        if conversation is None or conversation.stage == "closed":
            return False
        number = conversation.sequence + 1
        early = await self.keeper.read(lambda connection: conversations.get_early(connection, id, number))
        if early is None:
            return False
        message = Message.of_early(early)
        outcome = await self.keeper.change(id, lambda talk: self._answer(talk, message, early=True), conversation.key or "")
        if outcome.new:
            self._count(outcome)
        else:
            await self.keeper.write(id, lambda connection: conversations.remove_early(connection, id, number))
        return outcome.followed

    async def turns_after(self, id: str, number: int) -> list[Turn]:
        """Return the turns of a conversation after one."""
        return await self.keeper.read(lambda connection: conversations.turns_of(connection, id, number))

    async def reply(self, conversation: Conversation, request: Request) -> tuple[Product, Reply, dict[str, Any]]:
        """Let the app reply to a request in the state of a conversation."""
        product = self.products.get(conversation.app)
        reply, state = await self.keeper.compute(_reply, product, request, conversation)
        return product, reply, state

    async def wait(self, step: Step, product: Product, reasons: list[str]) -> None:
        """Let a conversation wait for a person, who gets a summary."""
        earlier = await self.turns_after(step.conversation.id, 0)
        said = [Said(turn.author, turn.text) for turn in [*earlier, *step.turns] if turn.text]
        state = step.values.get("state", step.conversation.state)
        summary = await self.keeper.compute(product.summary, said, state)
        step.wait(reasons, self.texts.remark(step.conversation.app, summary) or None)

    async def end(self, step: Step) -> None:
        """End a conversation."""
        step.end(self.texts, await self.turns_after(step.conversation.id, 0))

    async def _answer(self, talk: Talk, message: Message, early: bool = False) -> Step | Outcome:
        """Return the change that a message makes, or what answers it if it needs none."""
        conversation = talk.conversation
        if (noted := talk.messages.get(message.id)) is not None:
            return await self._again(talk, message, noted.number)
        if conversation.stage == "closed":
            raise talk.refuse(Conflict("The conversation is closed. Start a new one with POST /v1/apps/APP/conversations."))
        if message.sequence is not None and message.sequence != conversation.sequence + 1:
            return await self._out_of_order(talk, message)
        if conversation.turn >= self._settings.turns:
            raise Conflict(f"The conversation has {conversation.turn} turns, which is the maximum. Start a new one.")
        step = Step.of(conversation)
        step.early = message.sequence if early else None
        await self._take(step, message)
        return step

    async def _take(self, step: Step, message: Message) -> None:
        """Add what a message brings about: the reply of the app, unless a person answers."""
        conversation, key = step.conversation, self.texts.key
        if message.kind == "close":
            step.happen("closed", message, key)
            await self.end(step)
            return
        title = await self._title(conversation, message)
        if conversation.stage != "bot":
            step.say(message, self.texts, title=title)
            return
        product, reply, state = await self.reply(conversation, message.request(conversation))
        step.say(message, self.texts, reply.action, title)
        step.reply(reply, state, product.artifact.id)
        if reply.action == "handoff" or message.kind == "handoff":
            await self.wait(step, product, reply.reasons)

    async def _title(self, conversation: Conversation, message: Message) -> str | None:
        """Return what stands on the button that a visitor pressed, so that people read it later; None if no last reply has it."""
        if message.kind != "choice":
            return None
        turns = await self.turns_after(conversation.id, max(0, conversation.turn - _LAST))
        choices = [one for turn in reversed(turns) if turn.author == "bot" for one in (turn.reply or {}).get("choices", ())]
        return next((str(one["title"]) for one in choices if one["value"] == message.text), None)

    async def _again(self, talk: Talk, message: Message, number: int) -> Outcome:
        """Return what answered a message that is sent again; raise Conflict if another one had its id."""
        if not hmac.compare_digest(talk.messages[message.id].digest, message.digest(self.texts.key)):
            raise Conflict(f"The id '{message.id}' was used for another message of this conversation. Send each message with its own id.")
        turns = await self.turns_after(talk.conversation.id, number - 1)
        kept = turns[:1]
        if len(turns) > 1 and turns[1].author == "bot" and turns[1].message is None:  # else it answers something else
            kept = turns[:3] if len(turns) > 2 and turns[2].action == "handoff" and turns[2].author == "system" else turns[:2]
        return Outcome(talk.conversation, kept, new=False)

    async def _out_of_order(self, talk: Talk, message: Message) -> Outcome:
        """Store a message that came before an earlier one; raise Conflict for one whose number is taken."""
        conversation, number = talk.conversation, message.sequence or 0
        expected = conversation.sequence + 1
        if number < expected or not talk.fresh:
            raise talk.refuse(
                Conflict(f"The message has the number {number}, which another one has had; expected {expected}. Send it with this number.")
            )
        early, most = message.as_early(conversation.id, now()), self._settings.early
        if number > expected + most:
            raise Busy(f"The message has the number {number}; expected at most {expected + most}. Send the earlier ones first.", 1.0, True)

        def add(connection: Connection) -> tuple[conversations.Early, int]:
            return conversations.add_early(connection, early), conversations.sequence_of(connection, conversation.id)

        stored, answered = await self.keeper.write(conversation.id, add)
        if (stored.message, stored.content["text"]) != (early.message, early.content["text"]):
            raise Conflict(f"The number {number} belongs to another message of this conversation. Send the message with the next number.")
        if number <= answered + 1:  # another server has answered the one before meanwhile
            self._catch_up_later(conversation.id)
        return Outcome(conversation, [], new=False, waits=True)

    def _count(self, outcome: Outcome) -> None:
        replies = [turn for turn in outcome.turns if turn.author == "bot"]
        self._metrics.answered(outcome.conversation.app, replies[0].action if replies else None)
        if any(turn.action == "act" for turn in replies):
            self.acts()
        if any(turn.author == "system" and turn.action == "handoff" for turn in outcome.turns):
            self._metrics.handed_over(outcome.conversation.app, outcome.conversation.reasons[0])

    def _catch_up_later(self, id: str) -> None:
        """Answer what is next after the response; if the server ends before, another one does it."""
        task = asyncio.get_running_loop().create_task(self.catch_up(id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _reply(product: Product, request: Request, conversation: Conversation) -> tuple[Reply, dict[str, Any]]:
    return product.reply(request, conversation.state, customer=conversation.customer)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
