"""Turns what people say about messages of visitors into labels and feedback, from which models and FAQs learn; knows no endpoint."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from vertune.core.errors import NotFound
from vertune.server.chat.chats import Chats
from vertune.server.chat.steps import now
from vertune.server.feedback import FeedbackRequest, Sender
from vertune.server.service import Service
from vertune.store import conversations
from vertune.store.conversations import Conversation, Turn
from vertune.store.entries import Draft, Entry


@dataclass(frozen=True, slots=True)
class Labelled:
    """What became of a label."""

    feedback: str | None
    """The id of the feedback that a model learns from; None without one."""
    entry: Entry | None
    """The entry that was added or corrected."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """One person who says what would have been right."""

    chats: Chats
    service: Service
    person: str
    key: str | None
    """The id of the API key."""

    async def label(self, conversation: Conversation, number: int, value: dict[str, Any]) -> Labelled:
        """Note what would have been right for a message; an entry is added to the FAQ of the app, for the customer of the conversation.

        `value` has the fields `intent` and `entry`, of which one is None, or `dismissed`. Raises NotFound if the turn is no message of a
        visitor. Call `Adding.bring` afterwards, so that the entry is found at once.
        """
        turns = await self.chats.talking.turns_after(conversation.id, number - 1)
        turn = turns[0] if turns and turns[0].number == number and turns[0].author == "visitor" else None
        if turn is None:
            raise NotFound(f"The turn {number} of the conversation is no message of a visitor. Name one that is.")
        intent = value.get("intent")
        feedback = None if intent is None or turn.text is None else await asyncio.to_thread(self._feedback, conversation, turn, intent)
        entry = None if value.get("entry") is None else await self._entry(conversation, turn, value["entry"])
        if entry is not None:
            shown = {"id": entry.id, "question": entry.question, "answer": entry.answer, "language": entry.language}
            value = {**value, "entry": shown}
        written = {**value, "actor": self.person, "at": now(), "feedback": feedback}
        await self.chats.keeper.write(conversation.id, lambda connection: conversations.label(connection, conversation.id, number, written))
        return Labelled(feedback, entry)

    async def _entry(self, conversation: Conversation, turn: Turn, written: dict[str, Any]) -> Entry:
        """Add an entry that answers a message; its question is deleted with the message if it is the same text."""
        adding, question = self.chats.adding, written["question"]
        language = adding.language(conversation.app, written.get("language") or conversation.language)
        mark = turn.fingerprint if turn.text == question else None
        draft = Draft(conversation.app, conversation.customer, language, question, written["answer"])
        return await adding.add(replace(draft, replaces=written.get("replaces"), fingerprint=mark), self.person)

    def _feedback(self, conversation: Conversation, turn: Turn, intent: str) -> str | None:
        """Store the right intent as feedback on the vertical that learns it; return None if none of this server does."""
        product = self.chats.products.get(conversation.app)
        vertical = product.verticals.get(product.app.learns_from)
        deployment = None if vertical is None else self.service.answers.fleet.deployments.get(vertical)
        if deployment is None or self.service.feedback is None:
            return None
        body = FeedbackRequest(vertical=vertical, text=turn.text, target=intent, new_labels=True, author=self.person)
        sender = Sender(conversation.customer, self.key, sees_all=False)
        stored, _ = self.service.feedback.take(body, sender, deployment, None, f"label {conversation.id}-{turn.number} {intent}")
        return stored.id
