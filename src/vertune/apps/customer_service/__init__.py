"""Customer service: understands messages, gives curated answers, searches, asks back, collects details, and hands over to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field, PrivateAttr

from vertune.apps.customer_service import certainty, learning, summary
from vertune.apps.customer_service.knowledge import Knowledge
from vertune.apps.customer_service.replies import State, facts_of
from vertune.apps.customer_service.turn import Turn
from vertune.apps.customer_service.understanding import Learnt
from vertune.core.app import App, Ask, Labelled, Reply, Request, Said
from vertune.core.pack import Pack


class CustomerService(App):
    """What it knows about a field, and what it has learnt from labelled messages."""

    needs: ClassVar[Mapping[str, str]] = {
        "intents": "classify",
        "search": "embed",
        "details": "tag",
        "mood": "classify",
        "match": "match",
        "extract": "extract",
    }
    optional: ClassVar[frozenset[str]] = frozenset(needs) - {"intents"}
    vectors: ClassVar[str] = "search"
    learns_from: ClassVar[str] = "intents"
    state: ClassVar[type[BaseModel]] = State

    knowledge: Knowledge = Field(default_factory=Knowledge)
    """What a pack says: titles, answers, flows, words and sentences."""
    learnt: dict[str, Any] = Field(default_factory=dict)
    """What `learn` returned: thresholds, and what recognises messages that belong to no intent. Without it, nothing is sure."""
    _ready: Learnt = PrivateAttr(default_factory=Learnt)

    def model_post_init(self, context: Any, /) -> None:
        """Keep what was learnt in the form in which it is used."""
        self._ready = Learnt(self.learnt)

    @classmethod
    def of_pack(cls, pack: Pack, learnt: Mapping[str, Any] | None = None) -> Self:
        """Return the app with what a pack says and what it has learnt; raise ConfigError if parts of the pack do not fit together."""
        return cls(knowledge=Knowledge.of_pack(pack, cls.needs), learnt=dict(learnt or {}))

    def learn(self, messages: Sequence[Labelled], ask: Ask, trained: Sequence[Labelled] = ()) -> dict[str, Any]:
        """Return the thresholds of intents and of search, and what recognises messages that belong to no intent."""
        return learning.learn(self.knowledge, messages, ask, trained)

    def notes(self) -> list[str]:
        """Return whether search answers by itself; nothing as long as nothing was learnt."""
        return [certainty.described(self._ready.search, self.knowledge.error)] if self.learnt else []

    def greet(self, request: Request) -> Reply:
        """Return the greeting, which says that it is a machine."""
        language = self.knowledge.language(request.language)
        values = {**request.known, "title": self.knowledge.title.get(language, "")}
        return Reply(action="answer", text=self.knowledge.say("greeting", language, values=values))

    def summarise(self, conversation: Sequence[Said], state: Any) -> str:
        """Return why a conversation was handed over, what was understood, and the customer's most telling messages word for word."""
        know, language = self.knowledge, self.knowledge.language(state.language)
        lines = []
        if state.reasons:
            reasons = ", ".join(know.say(f"reason_{one}", language) if know.has_text(f"reason_{one}") else one for one in state.reasons)
            lines.append(know.say("summary_reasons", language, values={"reasons": reasons}))
        understood = [one for one in dict.fromkeys([state.answered, *state.offered, *state.others[:1]]) if one]
        if understood:
            titles = ", ".join(know.intent_title(one, language) for one in understood[:2])
            lines.append(know.say("summary_about", language, values={"titles": titles}))
        slots = {name: value for frame in state.stack for name, value in frame.slots.items()}
        if slots:
            lines.append(know.say("summary_slots", language, values={"slots": facts_of(slots)}))
        lines += [f"– {text}" for text in summary.extract([said.text for said in conversation if said.author == "visitor"])]
        return "\n".join(lines)

    def answer(self, request: Request, state: Any, ask: Ask) -> Reply:
        """Return the reply to a request, and write into the state what the next one must know."""
        return Turn(self.knowledge, request, state, self._ready, ask).reply()
