"""Suggests texts that a person may send: what the app would answer, what search finds, and canned replies; sends none."""

from __future__ import annotations

import time
from typing import Any

from vertune.core.app import Reply, Request
from vertune.core.pack import INTENT
from vertune.products.product import Product
from vertune.server.chat.chats import Chats
from vertune.store import canned
from vertune.store.conversations import Conversation

_PASSAGES = 4
_MOST = 9
"""Number of suggestions; each has a key of its own."""


async def suggest(chats: Chats, conversation: Conversation) -> list[dict[str, Any]]:
    """Return suggestions for a conversation, the best one first, at most nine; none has a name that only the app knows."""
    turns = await chats.talking.turns_after(conversation.id, 0)
    asked = next((turn.text for turn in reversed(turns) if turn.author == "visitor" and turn.text), None)
    found: list[dict[str, Any]] = []
    if asked is not None:
        product = chats.products.get(conversation.app)
        found = await chats.keeper.compute(_of_product, product, asked, conversation)
    kept = await chats.keeper.read(lambda connection: canned.of(connection, conversation.customer))
    found += [_suggestion("canned", one.name, _text(one, conversation.language)) for one in kept]
    distinct = {one["text"]: one for one in reversed(found) if one["text"]}  # the best one of those with one text
    shown = [one for one in found if distinct.get(one["text"]) is one]
    return [{"id": str(place), **one} for place, one in enumerate(shown[:_MOST], 1)]


def _of_product(product: Product, asked: str, conversation: Conversation) -> list[dict[str, Any]]:
    """Return what the app would answer if the message were the first one, and what search finds for it.

    An intent that is found stands for its curated answer, as if its button had been pressed; one that the app does not answer at once, but
    with a question or a person, is left out. The state of the conversation stays as it is.
    """
    now = time.time()

    def reply(text: str, language: str | None, choice: str | None = None) -> tuple[Reply, dict[str, Any]]:
        return product.reply(Request(text, language, choice, at=now, known=conversation.known), {}, customer=conversation.customer)

    first, read = reply(asked, conversation.language)
    language = conversation.language or read.get("language")  # an app that reads the language from messages keeps it
    found = [_suggestion("answer", _title(first), first.text, first.confidence)] if first.action == "answer" else []
    for hit in product.asking(conversation.customer, now).search(asked, _PASSAGES):
        if not hit.id.startswith(INTENT):
            found.append(_suggestion("passage" if hit.answer is None else "entry", hit.title, hit.answer or hit.text, hit.meaning))
        elif (meant := reply("", language, hit.id)[0]).action == "answer":
            found.append(_suggestion("answer", _title(meant), meant.text, hit.meaning))
    return found


def _title(reply: Reply) -> str:
    """Return what people call that of which a reply speaks; empty if it has no name for people."""
    return next((one.title for one in reply.evidence if one.title), "")


def _suggestion(kind: str, title: str, text: str, confidence: float | None = None) -> dict[str, Any]:
    return {"kind": kind, "title": title, "text": text, "confidence": confidence}


def _text(one: canned.Canned, language: str | None) -> str:
    """Return the text of a canned reply in a language, or in the first one that it has."""
    return one.texts.get(language or "", next(iter(one.texts.values()), ""))
