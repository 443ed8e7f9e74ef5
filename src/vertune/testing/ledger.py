"""A tiny app whose replies prove from which state they come: each has the number of the message and a hash of all messages so far.

It needs no model. It asks for an action at `act NAME`, for a person at `person` and at `hand over`, and offers two choices at `which`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel

from vertune.core.app import ActionCall, App, Ask, Choice, Reply, Request, Said
from vertune.core.artifact import Artifact
from vertune.core.pack import Pack
from vertune.products.asking import LoadedModels
from vertune.products.product import Content, Product

NAME = "ledger"
PERSON = ("person", "hand over")
_PACK = "app: ledger\ntitle: {en: Ledger, zh: 账本}\nlanguages: [en, zh]\n"


class Page(BaseModel):
    """What the app keeps of a conversation."""

    count: int = 0
    """Number of messages so far."""
    chain: str = ""
    """A hash of all of them, in their order."""
    returned: int = 0
    """How often a person gave the conversation back."""


class Ledger(App):
    """Replies with the number of a message and a hash of all messages so far."""

    state: ClassVar[type[BaseModel]] = Page

    @classmethod
    def of_pack(cls, pack: Pack, learnt: Mapping[str, Any] | None = None) -> Self:
        """Return the app, which reads nothing of a pack."""
        return cls()

    def greet(self, request: Request) -> Reply | None:
        """Say hello."""
        return Reply(
            action="answer", text="您好" if request.language == "zh" else "Hello", choices=[Choice(title="Person", value="person")]
        )

    def summarise(self, conversation: Sequence[Said], state: Any) -> str:
        """Return the last message of the visitor."""
        return next((one.text for one in reversed(conversation) if one.author == "visitor"), "")

    def answer(self, request: Request, state: Any, ask: Ask) -> Reply:
        """Return the reply, and write the number of the message and the hash into the state."""
        if request.event == "returned":
            state.returned += 1
            return Reply(action="answer", text="I am back.")
        said = request.choice or request.text or request.event
        if request.event == "acted":
            said = f"acted {dict(request.result or {})!r}"
        state.count += 1
        state.chain = chained(state.chain, said)
        text, slots = f"{state.count} {state.chain}", {"count": state.count, "last": said}
        if said.startswith("lost"):
            return Reply(action="handoff", text=text, reasons=["not_understood"], slots=slots)
        if said in PERSON:
            return Reply(action="handoff", text=text, reasons=["asked_for"], slots=slots)
        if said.startswith("act ") and (words := said.split()[1:]):
            return Reply(action="act", text=text, slots=slots, call=ActionCall(name=words[0][:100], arguments={"said": said}))
        if said.startswith("which"):
            choices = [Choice(title=title, value=title) for title in ("one", "two")]
            return Reply(action="clarify", text=text, choices=choices, slots=slots)
        if said.startswith("unknown"):
            return Reply(action="refuse", text=text, reasons=["no_match"], slots=slots)
        return Reply(action="answer", text=text, intent="entry", confidence=0.9, slots=slots)


def chained(chain: str, said: str) -> str:
    """Return the hash of all messages so far: that of the earlier ones, and of one more."""
    return hashlib.blake2b(f"{chain}\0{said}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def ledger(folder: Path, name: str = NAME, app: App | None = None) -> Product:
    """Return a product with this app, or another one that needs no model; its pack is written into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (file := folder / "pack.yaml").exists():  # another process may read it at this moment
        file.write_text(_PACK, encoding="utf-8")
    content = Content(app=NAME, pack=NAME, digest="", slots={})
    return Product(Artifact(folder), name, content, app or Ledger(), Pack(folder), models=LoadedModels({}), index=None)
