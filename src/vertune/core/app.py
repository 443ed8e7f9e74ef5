"""The base class of apps, which are products on served models: a message comes in, a reply with an action goes out.

An app decides and does nothing else: it computes no prediction, reads no file and calls no other server. What it needs of these it asks
for (`Ask`), so that the server, the evaluation and the tests run the same code. What a reply leads to is its `action`; no text decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, Field

from vertune.core.part import Part
from vertune.core.records import Answer, Record
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


@dataclass(frozen=True, slots=True)
class Request:
    """One message of a customer, or what has happened instead of one."""

    text: str
    language: str | None = None
    """The language that the customer chose, such as `zh`; None lets the app judge by the texts."""
    choice: str | None = None
    """The value of the button that was pressed instead of writing."""
    event: Literal["message", "silence", "returned", "acted"] = "message"
    """`silence`: nothing was written for a while; `returned`: a person gives the conversation back; `acted`: an action has a result."""
    result: Mapping[str, Any] | None = None
    """With `acted`: `{"ok": true, "data": {…}}` or `{"ok": false, "error": "…"}`."""
    at: float = 0.0
    """Seconds since 1970, for what depends on hours and dates; the same request with the same state gets the same reply."""
    known: Mapping[str, Any] = field(default_factory=dict)
    """What the operator's page knows of the customer, such as a tariff; conditions of answers may use it, and customers can't set it."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found."""

    id: str
    title: str
    text: str
    score: float
    """The joint score of words and vectors; the higher, the better, comparable within one search only."""
    url: str | None = None
    answer: str | None = None
    """The curated answer, if the passage is an entry of an FAQ."""
    meaning: float | None = None
    """The cosine of the vectors; None without vectors. Comparable between searches."""


class Ask(Protocol):
    """What an app may ask for while it answers."""

    def predict(self, questions: Mapping[str, Sequence[Record]]) -> dict[str, list[Answer]]:
        """Return, by slot of `needs`, the predictions for records, all computed in one batch; slots without a model are missing."""
        ...

    def search(self, text: str, number: int) -> list[Hit]:
        """Return the passages that fit a text best, the best one first; none if there is no index."""
        ...


class App(Part):
    """A product on served models."""

    folder: ClassVar[str] = "apps"
    needs: ClassVar[Mapping[str, str]] = {}
    """The task of the model that each slot needs, by the name of the slot."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """The slots without which it works too."""
    state: ClassVar[type[BaseModel]] = BaseModel
    """What it keeps of a conversation between two messages; stored as JSON."""

    def answer(self, request: Request, state: Any, ask: Ask) -> Reply:
        """Return the reply to a request and write into `state`, an instance of the class `state`, what the next request must know.

        It depends on nothing but its options, the request, the state and what it asks for. Raises DataError for a request that can't be
        answered.
        """
        raise NotImplementedError
