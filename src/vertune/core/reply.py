"""What an app replies: an action, a text, buttons and links, and where they come from; knows nothing of how a reply is found."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from vertune.core.section import Section

Action = Literal["answer", "clarify", "ask", "act", "handoff", "refuse"]
"""What a reply does: it answers; it asks which of a few answers is meant; it asks for a detail that is missing; it calls an action of the
operator; it hands the conversation over to a person; or it says that it can't help."""


class Choice(Section):
    """A button below a reply."""

    title: str = Field(max_length=200, description="What people read on it.")
    value: str = Field(max_length=200, description="What is sent back when it is chosen.")


class Attachment(Section):
    """A link or a picture of a reply."""

    kind: Literal["link", "image"] = "link"
    title: str = Field(max_length=300)
    url: str = Field(max_length=2_000, pattern=r"^https://\S+$|^/\S*$")


class Evidence(Section):
    """Where a reply comes from: a curated answer, a passage of a document, or an intent."""

    kind: Literal["intent", "entry", "passage", "rule", "slot"]
    id: str = Field(max_length=300)
    title: str = Field(default="", max_length=500)
    text: str = Field(default="", max_length=4_000)
    score: float | None = None
    url: str | None = Field(default=None, max_length=2_000)


class ActionCall(Section):
    """An action of the operator that whoever runs the app calls; its result comes back in the next request."""

    name: str = Field(max_length=100)
    arguments: dict[str, Any] = Field(default_factory=dict)


class Reply(Section):
    """What an app replies to a message."""

    action: Action
    text: str = Field(max_length=8_000)
    choices: list[Choice] = Field(default_factory=list, max_length=12)
    attachments: list[Attachment] = Field(default_factory=list, max_length=12)
    evidence: list[Evidence] = Field(default_factory=list, max_length=50)
    confidence: float | None = Field(
        default=None, ge=0, le=1, description="How probable it is that the reply is right; None without a measure."
    )
    reasons: list[str] = Field(
        default_factory=list, description="Why this action: names from the fixed list of the app, for filters and figures."
    )
    intent: str | None = Field(default=None, description="What the app understood; None if nothing.")
    slots: dict[str, Any] = Field(default_factory=dict, description="The details that are known in the flow at hand.")
    call: ActionCall | None = Field(default=None, description="What to call, if the action is `act`.")
