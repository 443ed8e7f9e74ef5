"""The base class of apps, which are products on served models: a message comes in, a reply with an action goes out.

An app decides and does nothing else: it computes no prediction, reads no file and calls no other server. What it needs of these it asks
for (`Ask`), so that the server, the evaluation and the tests run the same code. What a reply leads to is its `action`; no text decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel

from vertune.core.pack import Pack
from vertune.core.part import Part
from vertune.core.records import Answer, Record
from vertune.core.reply import Action as Action
from vertune.core.reply import ActionCall as ActionCall
from vertune.core.reply import Attachment as Attachment
from vertune.core.reply import Choice as Choice
from vertune.core.reply import Evidence as Evidence
from vertune.core.reply import Reply as Reply


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
    """The joint score of words and vectors, at least 0; the higher, the better. Comparable between searches of one index."""
    url: str | None = None
    answer: str | None = None
    """The curated answer, if the passage is an entry of an FAQ."""
    meaning: float | None = None
    """The cosine of the vectors; None without vectors. Comparable between searches."""
    words: float | None = None
    """The share of the largest score that is possible for the words of the text, from 0 to 1; None without a ranking by words."""


class Ask(Protocol):
    """What an app may ask for while it answers."""

    def predict(self, questions: Mapping[str, Sequence[Record]]) -> dict[str, list[Answer]]:
        """Return, by slot of `needs`, the predictions for records, all computed in one batch; slots without a model are missing."""
        ...

    def search(self, text: str, number: int) -> list[Hit]:
        """Return the passages that fit a text best, the best one first; none if there is no index."""
        ...

    def entry(self, id: str, language: str) -> Hit | None:
        """Return an entry of the FAQ in a language, or a passage, by its id, as it is found now; None if there is none any longer."""
        ...

    def spelled(self, text: str) -> str:
        """Return a text with typos, pinyin and homophones as the index writes them; unchanged if there is no index."""
        ...


@dataclass(frozen=True, slots=True)
class Labelled:
    """A message of which a person has said what it means."""

    text: str
    intent: str | None = None
    """The intent; None if the message has none of those of the app."""
    entry: str | None = None
    """The id of the entry of the FAQ that answers it, if one does."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation, for summaries."""

    author: Literal["visitor", "bot", "agent", "system"]
    text: str


class App(Part):
    """A product on served models."""

    folder: ClassVar[str] = "apps"
    needs: ClassVar[Mapping[str, str]] = {}
    """The task of the model that each slot needs, by the name of the slot."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """The slots without which it works too."""
    vectors: ClassVar[str] = ""
    """The slot whose answers are the vectors by which passages are found; empty for none."""
    learns_from: ClassVar[str] = ""
    """The slot whose labels are those of `Labelled.intent`; empty for an app that learns nothing."""
    state: ClassVar[type[BaseModel]] = BaseModel
    """What it keeps of a conversation between two messages; stored as JSON."""

    @classmethod
    def of_pack(cls, pack: Pack, learnt: Mapping[str, Any] | None = None) -> Self:
        """Return the app with what a pack says and what it has learnt (`learn`); raise ConfigError if the pack does not fit."""
        raise NotImplementedError

    def learn(self, messages: Sequence[Labelled], ask: Ask, trained: Sequence[Labelled] = ()) -> dict[str, Any]:
        """Return, as JSON, what labelled messages teach it, such as thresholds; `of_pack` gets it.

        No model was trained on `messages`. `trained` are messages on which the model of `learns_from` was trained.
        """
        return {}

    def greet(self, request: Request) -> Reply | None:
        """Return what it says before the first message; None for nothing."""
        return None

    def summarise(self, conversation: Sequence[Said], state: Any) -> str:
        """Return in a few lines what a conversation is about, for the person who takes it over."""
        return ""

    def notes(self) -> list[str]:
        """Return what whoever runs it should know of what it has learnt, in sentences: what it does not do, why, and what would help."""
        return []

    def answer(self, request: Request, state: Any, ask: Ask) -> Reply:
        """Return the reply to a request and write into `state`, an instance of the class `state`, what the next request must know.

        It depends on nothing but its options, the request, the state and what it asks for. Raises DataError for a request that can't be
        answered.
        """
        raise NotImplementedError
