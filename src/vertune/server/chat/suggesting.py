"""Suggests texts that a person may send: what the app would answer, what search finds, and canned replies; sends none."""

from __future__ import annotations

import time
from typing import Any

from vertune.core.app import Request
from vertune.products.product import Product
from vertune.server.chat.chats import Chats
from vertune.store import canned
from vertune.store.conversations import Conversation

_PASSAGES = 4
_MOST = 9
"""Number of suggestions; each has a key of its own."""


async def suggest(chats: Chats, conversation: Conversation) -> list[dict[str, Any]]:
    """Return suggestions for a conversation, the best one first, at most nine."""
    turns = await chats.talking.turns_after(conversation.id, 0)
    asked = next((turn.text for turn in reversed(turns) if turn.author == "visitor" and turn.text), None)
    found: list[dict[str, Any]] = []
    if asked is not None:
        product = chats.products.get(conversation.app)
        found = await chats.keeper.compute(_of_product, product, asked, conversation)
    kept = await chats.keeper.read(lambda connection: canned.of(connection, conversation.customer))
    found += [_suggestion("canned", one.name, one.name, _text(one, conversation.language)) for one in kept]
    texts: set[str] = set()
    return [one for one in found if one["text"] and not (one["text"] in texts or texts.add(one["text"]))][:_MOST]  # type: ignore[func-returns-value]


def _of_product(product: Product, asked: str, conversation: Conversation) -> list[dict[str, Any]]:
    """Return what the app would answer if the message were the first one, and the passages that fit it."""
    request = Request(asked, conversation.language, at=time.time(), known=conversation.known)
    reply, _ = product.reply(request, {}, customer=conversation.customer)
    found = []
    if reply.action == "answer":
        found.append(_suggestion("answer", reply.intent or "", reply.intent or "", reply.text, reply.confidence))
    hits = product.asking(conversation.customer).search(asked, _PASSAGES)
    return found + [
        _suggestion("entry" if hit.answer else "passage", hit.id, hit.title, hit.answer or hit.text, hit.meaning) for hit in hits
    ]


def _suggestion(kind: str, id: str, title: str, text: str, confidence: float | None = None) -> dict[str, Any]:
    return {"kind": kind, "id": id, "title": title, "text": text, "confidence": confidence}


def _text(one: canned.Canned, language: str | None) -> str:
    """Return the text of a canned reply in a language, or in the first one that it has."""
    return one.texts.get(language or "", next(iter(one.texts.values()), ""))
