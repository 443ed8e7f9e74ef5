"""What the models say of a message, in one batch, and what follows from it at the stated rate of wrong answers; knows no replies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.apps.customer_service.knowledge import Knowledge
from vertune.core.app import Ask
from vertune.core.records import Answer
from vertune.dialogue import decision
from vertune.dialogue.decision import Decision, Thresholds
from vertune.dialogue.outside import Reference, signals
from vertune.dialogue.patterns import Reading
from vertune.dialogue.regression import Regression

_NUMBER = re.compile(r"[A-Za-z]{0,4}[-#]?\d{5,}")
OFFERED = 4
"""Intents that are offered at most."""


@dataclass(frozen=True)
class Learnt:
    """What `learning.learn` has returned, ready for use."""

    written: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def thresholds(self) -> Thresholds | None:
        """When an intent is answered; None if nothing was learnt, so that nothing is sure."""
        value = self.written.get("thresholds")
        return None if value is None else Thresholds.read(value)

    @cached_property
    def outside(self) -> Regression | None:
        """What recognises messages that belong to no intent; None leaves that to their probabilities."""
        value = self.written.get("outside")
        return None if value is None else Regression.read(value)

    @cached_property
    def reference(self) -> Reference | None:
        """Where the messages lie on which the intents were trained."""
        value = self.written.get("reference")
        return None if value is None else Reference.read(value)

    @property
    def search(self) -> Mapping[str, Any]:
        """When what is found answers, and when it is offered (`certainty`)."""
        return self.written.get("search") or {}


@dataclass(frozen=True, slots=True)
class Belief:
    """What the model of intents says of a message."""

    probabilities: Mapping[str, float] = field(default_factory=dict)
    outside: float = 0.0
    """The probability that it belongs to no intent, as far as that was learnt."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What is understood of a message."""

    decision: Decision | None
    """None if no intent was asked for, because the message is nothing but a pattern."""
    wishes: tuple[str, ...] = ()
    """The intents of several wishes in one message, in their order; empty if there is one wish or none."""
    maybe: tuple[str, ...] = ()
    """Intents that parts of the message may mean besides, which can be offered."""
    others: tuple[str, ...] = ()
    """The most probable intents, of which one can be offered if the reply was not what was meant."""
    belief: Belief = Belief(outside=1.0)
    angry: float = 0.0
    """The probability of anger, as far as a model says it."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the tagger found, by label."""

    @property
    def sure(self) -> str | None:
        """The intent that may be answered at once."""
        if self.wishes:
            return self.wishes[0]
        return self.decision.intents[0] if self.decision is not None and self.decision.kind == "answer" else None


def understand(know: Knowledge, learnt: Learnt, reading: Reading, ask: Ask, message: str, excluded: Sequence[str]) -> Understood:
    """Ask the models about a message, its parts that may be wishes, and its negated parts, and decide.

    `excluded` are intents that the customer has rejected before.
    """
    texts = [readable(text, ask) for text in (reading.rest, *reading.wishes, *reading.rejected) if text]
    whole = [{"text": message}] if message.strip() else []
    answers = ask.predict({
        "intents": [{"text": text} for text in texts],
        "search": [{"text": text} for text in texts],
        "mood": whole,
        "details": whole,
    })  # fmt: skip
    angry = _share(answers.get("mood"), know.handoff.angry_labels)
    tags = _tags(message, answers.get("details"))
    if not reading.rest or not answers.get("intents"):
        return Understood(None, angry=angry, tags=tags)
    beliefs = _Beliefs.of(learnt, answers["intents"], answers.get("search"))
    first, last = 1 + len(reading.wishes), len(texts)
    negated = [beliefs.sure(number) for number in range(first, last)]
    rejected = [*excluded, *(one for one in negated if one is not None)]
    main = beliefs.decide(0, rejected)
    wishes: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()
    if reading.wishes:
        parts = [beliefs.decide(number, rejected) for number in range(1, first)]
        found = decision.wishes_of(main, parts)
        wishes = tuple(one.intents[0] for one in found) if len(found) > 1 else ()
        meant = {*wishes, *(main.intents[:1] if main.kind == "answer" else ())}
        maybe = tuple(dict.fromkeys(one.intents[0] for one in parts if one.intents and one.intents[0] not in meant))
    return Understood(main, wishes, maybe, others=beliefs.likely(0, rejected), belief=beliefs.belief(0), angry=angry, tags=tags)


def tagged(message: str, ask: Ask) -> dict[str, str]:
    """Return what the slot `details` finds in a message, by label; nothing without the slot."""
    return _tags(message, ask.predict({"details": [{"text": message}]}).get("details")) if message.strip() else {}


def _tags(message: str, answers: Sequence[Answer] | None) -> dict[str, str]:
    spans = answers[0].get("spans", ()) if answers else ()
    return {str(span["label"]): message[span["start"] : span["end"]] for span in spans}


def readable(text: str, ask: Ask) -> str:
    """Return a message as models read it: without numbers of orders, phones and the like, and spelled as the index writes it."""
    shorter = " ".join(_NUMBER.sub(" ", text).split())
    return ask.spelled(shorter if any(map(str.isalpha, shorter)) else text) or text


def _share(answers: Sequence[Answer] | None, labels: Sequence[str]) -> float:
    """Return the probability of some labels in the first answer; 0 without one."""
    if not answers:
        return 0.0
    probabilities = answers[0].get("probabilities") or {}
    return float(sum(probabilities.get(label, 0.0) for label in labels))


@dataclass(frozen=True)
class _Beliefs:
    """Probabilities of the intents for several texts."""

    labels: list[str]
    probabilities: NDArray[np.float64]
    outside: NDArray[Any]
    thresholds: Thresholds | None

    @classmethod
    def of(cls, learnt: Learnt, answers: Sequence[Answer], embedded: Sequence[Answer] | None) -> _Beliefs:
        labels = list(answers[0]["probabilities"])
        probabilities = np.array([[one["probabilities"][label] for label in labels] for one in answers])
        vectors = np.array([one["vector"] for one in embedded], np.float32) if embedded and learnt.reference is not None else None
        outside: NDArray[Any] = np.zeros(len(answers))
        if learnt.outside is not None:
            outside = learnt.outside.score(signals(probabilities, vectors=vectors, reference=learnt.reference))
        return cls(labels, probabilities, outside, learnt.thresholds)

    def decide(self, row: int, rejected: Sequence[str]) -> Decision:
        """Return what may be done with one of the texts; without thresholds, the most probable intents are offered."""
        if self.thresholds is None:
            return Decision("clarify", self.likely(row, rejected)[:OFFERED], float(self.probabilities[row].max()))
        return decision.decide(
            self.probabilities[row], float(self.outside[row]), self.thresholds, intents=self.labels, rejected=tuple(rejected)
        )

    def belief(self, row: int) -> Belief:
        """Return what the model says of one of the texts."""
        return Belief(dict(zip(self.labels, self.probabilities[row].tolist(), strict=True)), float(self.outside[row]))

    def sure(self, row: int) -> str | None:
        """Return the intent of one of the texts, if it may be answered at once."""
        found = self.decide(row, ())
        return found.intents[0] if found.kind == "answer" else None

    def likely(self, row: int, rejected: Sequence[str]) -> tuple[str, ...]:
        """Return the most probable intents of one of the texts."""
        order = np.argsort(-self.probabilities[row])
        return tuple(self.labels[number] for number in order if self.labels[number] not in rejected)[: OFFERED + 1]
