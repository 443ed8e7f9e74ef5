"""What a visitor sends, and what the server keeps of what was said; does not depend on how messages arrive."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vertune.core.app import Request
from vertune.core.config import KeepText
from vertune.masking import standard_masker
from vertune.server.texts import with_texts
from vertune.store.conversations import Conversation, Early, Turn
from vertune.store.traffic import fingerprint

Kind = Literal["text", "choice", "silence", "handoff", "close"]
PERSON = "person"
"""The choice by which an app is told that the visitor wants a person."""
_CURATED = frozenset({"evidence", "attachments"})
"""Parts of a reply that quote the operator and never the visitor."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a visitor, or what the visitor does instead of writing."""

    id: str
    """The id that the client gave to it; a repeated message has the same one."""
    kind: Kind
    text: str = ""
    """What was written, or the value of the button."""
    sequence: int | None = None
    """Its number among those of the visitor, from 1; None where the order of arrival is the right one."""
    call: str | None = None
    """The id of the request that brought it."""
    at: float = field(default_factory=time.time)

    def digest(self, key: bytes) -> bytes:
        """Return a keyed hash that tells it from another message with the same id; a client may number a message anew."""
        content = f"{self.kind}\0{self.text}"
        return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest()

    def request(self, conversation: Conversation) -> Request:
        """Return it in the form that apps read."""
        return Request(
            self.text if self.kind == "text" else "", conversation.language,
            choice={"choice": self.text, "handoff": PERSON}.get(self.kind), event="silence" if self.kind == "silence" else "message",
            at=self.at, known=conversation.known,
        )  # fmt: skip

    def as_early(self, conversation: str, at: str) -> Early:
        """Return it as it is stored while it waits for earlier ones."""
        assert self.sequence is not None
        return Early(conversation, self.sequence, self.id, at, content={"kind": self.kind, "text": self.text, "call": self.call})

    @classmethod
    def of_early(cls, early: Early) -> Message:
        """Return a message that waited."""
        return cls(early.message, sequence=early.sequence, **early.content)


@dataclass(frozen=True, slots=True)
class KeptTexts:
    """In which form the texts of conversations are kept.

    What visitors write is masked, or left out, before it is stored. What an app or a person replies stays as it is until the conversation
    ends, because a visitor who loads the page again must read the same; then it is masked too.
    """

    kept: Callable[[str], KeepText]
    """Returns how the texts of an app are kept."""
    key: bytes
    """The secret of the database with which fingerprints are made."""

    def visitor(self, app: str, turn: Turn) -> Turn:
        """Return a turn of a visitor as it is stored, with a fingerprint by which its text is found again."""
        if turn.text is None:
            return turn
        return replace(turn, text=self._kept(app, turn.text), fingerprint=self.mark(turn.text))

    def mark(self, text: str) -> bytes:
        """Return the keyed hash of a text as it was written, by which its writer can have it deleted."""
        return fingerprint({"text": text}, self.key)

    def ended(self, app: str, turn: Turn) -> Turn:
        """Return a turn of an app or a person as it is kept when the conversation has ended."""
        keep = self.kept(app)
        if keep == "yes":
            return turn
        if keep == "no":
            about = {name: value for name, value in (turn.reply or {}).items() if name in ("action", "intent", "confidence", "reasons")}
            return replace(turn, text=None, reply=None if turn.reply is None else {**about, "text": ""})
        reply = None if turn.reply is None else masked(turn.reply)
        return replace(turn, text=None if turn.text is None else standard_masker().text(turn.text), reply=reply)

    def values(self, app: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values, such as the arguments of an action, as they are kept when they are not needed any more."""
        keep = self.kept(app)
        return dict(values) if keep == "yes" else masked(values) if keep == "masked" else {}

    def remark(self, app: str, text: str | None) -> str | None:
        """Return a remark or a summary as it is stored."""
        return None if text is None else self._kept(app, text)

    def written(self, app: str, text: str) -> str:
        """Return what a person writes for others to read: masked, as it may quote a visitor, unless texts are kept as they are."""
        return text if self.kept(app) == "yes" else standard_masker().text(text)

    def _kept(self, app: str, text: str) -> str | None:
        keep = self.kept(app)
        return text if keep == "yes" else standard_masker().text(text) if keep == "masked" else None


def masked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with masked texts, except for what quotes the operator."""
    changed = {name: value if name in _CURATED else with_texts(value, standard_masker().text) for name, value in values.items()}
    return {name: changed[name] for name in values}
