"""Conversations and turns in the form in which visitors, people at the desk and adapters get them; reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from vertune.store.conversations import Author, Conversation, Stage, Turn

_SHOWN = ("entry", "passage")
"""The kinds of evidence that visitors see; others are names for the operator."""


class ChoiceView(BaseModel):
    """A button below a reply."""

    title: str
    value: str


class AttachmentView(BaseModel):
    """A link or a picture of a reply."""

    kind: Literal["link", "image"]
    title: str
    url: str


class EvidenceView(BaseModel):
    """Where a reply comes from."""

    kind: str
    id: str
    title: str
    text: str
    url: str | None
    score: float | None


class VisitorTurn(BaseModel):
    """One thing that was said or happened, as visitors see it."""

    number: int
    author: Author
    at: str
    """When it was stored, in UTC."""
    text: str | None
    message: str | None
    """The id that the client gave to its message; null for what others said."""
    action: str | None
    """What a reply does: answer, clarify, ask, act, handoff or refuse; null for what people said."""
    event: str | None
    """What happened: handoff, taken, returned, closed or acted; null for what was said."""
    choices: list[ChoiceView]
    attachments: list[AttachmentView]
    evidence: list[EvidenceView]
    """The entries and passages from which a reply comes."""


class DeskTurn(VisitorTurn):
    """One thing that was said or happened, as people at the desk see it."""

    confidence: float | None
    reasons: list[str]
    intent: str | None
    slots: dict[str, Any]
    result: dict[str, Any] | None
    """The result of an action."""
    label: dict[str, Any] | None
    """What people said would have been right."""
    model: str | None
    """The id of the product that replied."""


class Listed(BaseModel):
    """A conversation in a list of the desk."""

    id: str
    app: str
    language: str | None
    visitor: str | None
    stage: Stage
    agent: str | None
    reasons: list[str]
    summary: str | None
    last: str | None
    """What the visitor wrote last, as it is stored."""
    queued: str | None
    changed: str
    turn: int
    satisfaction: int | None
    comment: str | None
    channel: str | None
    """The adapter by which it came; null for a web page."""


def visitor_turn(turn: Turn) -> dict[str, Any]:
    """Return a turn as visitors see it."""
    reply = turn.reply or {}
    shown = [_evidence(one) for one in reply.get("evidence", ()) if one["kind"] in _SHOWN] if turn.author == "bot" else []
    system = turn.author == "system"
    return {
        "number": turn.number, "author": turn.author, "at": turn.at, "text": turn.text,
        "message": turn.message if turn.message is not None and not turn.message.startswith(" ") else None,
        "action": turn.action if turn.author == "bot" else None, "event": turn.action if system else None,
        "choices": reply.get("choices", []), "attachments": [{"kind": "link", **one} for one in reply.get("attachments", [])],
        "evidence": shown,
    }  # fmt: skip


def desk_turn(turn: Turn) -> dict[str, Any]:
    """Return a turn as people at the desk see it."""
    reply = turn.reply or {}
    return {
        **visitor_turn(turn), "evidence": [_evidence(one) for one in reply.get("evidence", [])], "confidence": reply.get("confidence"),
        "reasons": reply.get("reasons", []), "intent": reply.get("intent"), "slots": reply.get("slots", {}),
        "result": reply.get("result"), "label": turn.label, "model": turn.model,
        "action": turn.action if turn.author in ("bot", "visitor") else None,
    }  # fmt: skip


def listed(conversation: Conversation, last: str | None) -> dict[str, Any]:
    """Return a conversation as a list of the desk has it."""
    return {**{name: getattr(conversation, name) for name in Listed.model_fields if name != "last"}, "last": last}


def slots_of(turns: Sequence[Turn]) -> dict[str, Any]:
    """Return the details that the app knew in its last reply."""
    return next((dict(turn.reply.get("slots", {})) for turn in reversed(turns) if turn.author == "bot" and turn.reply), {})


def _evidence(one: dict[str, Any]) -> dict[str, Any]:
    return {"kind": one["kind"], "id": one["id"], "score": one.get("score"), "url": one.get("url")} | {
        name: one.get(name, "") for name in ("title", "text")
    }
