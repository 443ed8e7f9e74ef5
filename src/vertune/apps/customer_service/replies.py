"""What replies are made of: sentences, buttons, evidence, steps of flows, and handing over; does not decide what is replied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from vertune.apps.customer_service.knowledge import ASK_INTENT, ASK_PERSON, NONE_OF_THESE, Knowledge
from vertune.core.app import Action, Attachment, Choice, Evidence, Reply, Request
from vertune.dialogue.engine import Step
from vertune.dialogue.state import Conversation

MOST_CHOICES = 12


class State(Conversation):
    """What the app keeps of a conversation."""

    others: list[str] = Field(default_factory=list, max_length=12)
    """The most probable intents of the last message, of which some are offered if the reply was not what was meant."""
    message: str = Field(default="", max_length=10_000)
    """The last message that was written, whose details count when a button then says what was meant."""
    found: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """The passages that were offered last, by id, so that a button finds them again."""


@dataclass
class Wording:
    """What the replies to one request have in common."""

    know: Knowledge
    request: Request
    state: State

    @property
    def language(self) -> str:
        """The language of the reply."""
        return self.know.language(self.state.language)

    @property
    def facts(self) -> dict[str, Any]:
        """What conditions and texts may name: details of the flow at hand, and above them what the operator's page knows."""
        frame = self.state.frame
        return {**(frame.slots if frame else {}), **self.request.known}

    def reason_of(self, intent: str | None) -> str | None:
        """Return why a person takes over when an intent is asked for; None if the app answers."""
        if intent is None:
            return None
        entry = self.know.intents.get(intent)
        if entry is not None and entry.handoff is not None:
            return entry.handoff
        return "business_rule" if self.know.rule(intent, self.facts) is not None else None

    def hand_over(self, reason: str, intent: str | None = None, before: Sequence[str] = ()) -> Reply:
        """Let a person answer from now on."""
        texts = [*before, self.text(f"handoff_{reason}")]
        reasons = [reason]
        opens = self.know.opens(self.request.at)
        if opens is not None:
            texts.append(self.know.say("handoff_closed", self.language, values={"opens": opens}))
            reasons.append("outside_hours")
        slots = self.slots()
        self.state.hand_over([reason])
        evidence = self.listed([intent]) if intent else []
        return Reply(action="handoff", text="\n\n".join(texts), reasons=reasons, intent=intent, evidence=evidence, slots=slots)

    def of_step(self, step: Step, before: Sequence[str] = (), intent: str | None = None) -> Reply:
        """Return the reply that a step of a flow says, with the question of the flow that it had interrupted."""
        if step.action == "handoff":
            reason = "not_understood" if step.reason == "misses" else step.reason
            return self.hand_over(reason, intent, before)
        self.state.not_understood = 0
        said = [self.know.say(name, self.language, self.state.turns, step.values) for name in step.before]
        flow = self.know.flows.flow(step.flow)
        named = intent or (flow.intents[0] if flow is not None and flow.intents else None)
        own = [Choice(title=self.know.say(f"button_{name}", self.language), value=name) for name in step.buttons]
        reply = Reply(
            action=step.action, text="\n\n".join(part for part in (*before, *said, step.text) if part)[:8_000],
            choices=[*step.choices, *own][:MOST_CHOICES], intent=named, slots=dict(step.slots), call=step.call, reasons=[step.reason],
            evidence=[*self.listed([named] if named else []), Evidence(kind="rule", id=step.flow)],
        )  # fmt: skip
        return reply if step.then is None else joined(reply, self.of_step(step.then))

    def say(self, action: Action, name: str, choices: Sequence[Choice] = (), reasons: Sequence[str] = ()) -> Reply:
        """Return a reply that is one of the sentences."""
        return Reply(action=action, text=self.text(name), choices=list(choices), reasons=list(reasons), slots=self.slots())

    def text(self, name: str) -> str:
        """Return a sentence in the language of the reply."""
        return self.know.say(name, self.language, self.state.turns, self.facts)

    def slots(self) -> dict[str, Any]:
        """Return the details that are known in the flow at hand."""
        frame = self.state.frame
        return dict(frame.slots) if frame else {}

    def listed(self, intents: Sequence[str]) -> list[Evidence]:
        """Return intents as evidence."""
        return [Evidence(kind="intent", id=intent, title=self.know.intent_title(intent, self.language)) for intent in intents]

    def offers(self, intents: Sequence[str]) -> list[Choice]:
        """Return a button for each of some intents."""
        return [Choice(title=self.know.intent_title(intent, self.language), value=f"{ASK_INTENT}{intent}") for intent in intents]

    def person(self) -> list[Choice]:
        """Return the button by which a person is asked for."""
        return [Choice(title=self.know.say("button_human", self.language), value=ASK_PERSON)]

    def ended(self, offers: Sequence[Choice]) -> list[Choice]:
        """Return buttons with the two that end each list of offers."""
        none = Choice(title=self.know.say("button_none", self.language), value=NONE_OF_THESE)
        return [*offers[: MOST_CHOICES - 2], none, *self.person()]


class Parts:
    """What several answers are put together of."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.choices: list[Choice] = []
        self.attachments: list[Attachment] = []
        self.evidence: list[Evidence] = []
        self.missing: list[str] = []
        """The intents without a valid answer."""

    def reply(self, action: Action, intent: str, confidence: float | None) -> Reply:
        """Return all answers as one reply."""
        return Reply(
            action=action, text="\n\n".join(self.texts)[:8_000], choices=self.choices[:MOST_CHOICES],
            attachments=self.attachments[:MOST_CHOICES], evidence=self.evidence, intent=intent, confidence=confidence,
        )  # fmt: skip


def joined(first: Reply, second: Reply) -> Reply:
    """Return two replies as one, which does what the second one does."""
    return second.model_copy(
        update={
            "text": f"{first.text}\n\n{second.text}"[:8_000],
            "attachments": [*first.attachments, *second.attachments][:MOST_CHOICES],
            "evidence": [*first.evidence, *second.evidence][:50],
            "choices": second.choices or first.choices,
            "intent": first.intent or second.intent,
            "confidence": first.confidence,
        }
    )


def facts_of(values: Mapping[str, Any]) -> str:
    """Return details in one line, for a summary."""
    return ", ".join(f"{name}: {value}" for name, value in values.items())
