"""What a pack says, as options of the app, and the sentences, conditions and dates in it; knows nothing of models and of conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import Field

from vertune.core.app import Attachment, Choice
from vertune.core.bounded_yaml import read_yaml
from vertune.core.errors import ConfigError, UnknownName
from vertune.core.pack import (
    INTENT,
    AttachmentText,
    ChoiceText,
    Condition,
    CuratedAnswer,
    FaqEntry,
    Handover,
    Hours,
    IntentAnswers,
    Pack,
    Rule,
)
from vertune.core.parse import build
from vertune.core.section import Section
from vertune.dialogue.flows import Flows, fill
from vertune.dialogue.lexicon import Lexicon

ASK_INTENT, ASK_ENTRY, ASK_PERSON, NONE_OF_THESE = INTENT, "entry:", "person", "none"
"""What the values of the app's own buttons begin with, or are."""
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_AHEAD = 15
"""Days that are searched for the next opening."""


@cache
def sentences() -> dict[str, dict[str, list[str]]]:
    """Return the app's own sentences by name and language."""
    written = read_yaml(Path(__file__).with_name("texts.yaml"))
    return {name: {code: [one] if isinstance(one, str) else one for code, one in texts.items()} for name, texts in written.items()}


class Knowledge(Section):
    """What the app knows about its field."""

    title: dict[str, str] = Field(default={})
    """What the product is called, by language."""
    languages: list[str] = Field(default=["en", "zh"])
    """The languages in which it answers; the first one is the default."""
    intents: dict[str, IntentAnswers] = Field(default={})
    """By label of the model: titles and curated answers."""
    faq: dict[str, FaqEntry] = Field(default={})
    """By id: the curated questions and answers."""
    flows: Flows = Field(default_factory=Flows)
    """What is done for a customer in several turns."""
    lexicon: Lexicon = Field(default_factory=Lexicon)
    """Words of the field."""
    texts: dict[str, dict[str, list[str]]] = Field(default={})
    """The sentences of the pack, which replace the app's own, by name and language."""
    handoff: Handover = Handover()
    """When a person takes over."""
    hours: Hours | None = None
    """When people answer; None means always."""
    match_labels: list[str] = Field(default=["1"])
    """The labels of the slot `match` that mean that a text answers a message."""
    error: float = Field(default=0.02, gt=0, le=0.5)
    """Share of the answers given that may be wrong."""

    @classmethod
    def of_pack(cls, pack: Pack, slots: Mapping[str, str]) -> Self:
        """Return what a pack says; raise ConfigError if parts of it do not fit together, or if it names a slot that is not in `slots`."""
        pack.check(sentences(), slots)
        config, where = pack.config, str(pack.folder)
        flows = build(Flows, pack.flows, f"{where}/flows.yaml")
        topics = {**pack.lexicon.get("sensitive", {}), **config.handoff.sensitive}
        lexicon = build(Lexicon, {**pack.lexicon, "sensitive": topics}, f"{where}/lexicon.yaml")
        found = cls(
            title=dict(config.title), languages=list(config.languages), intents=pack.intents, faq=pack.faq, flows=flows,
            lexicon=lexicon.merged(), texts=pack.texts, handoff=config.handoff, hours=config.hours, error=config.error,
            match_labels=config.match_labels,
        )  # fmt: skip
        found._check(where)
        return found

    def _check(self, where: str) -> None:
        """Raise ConfigError for an intent that is named and does not exist."""
        started = {intent for flow in self.flows.flows for intent in flow.intents}
        for intent in sorted(started - set(self.intents)):
            raise UnknownName("intent", intent, self.intents, f"{where}/answers.yaml, although a flow begins with it")
        mute = [name for name, one in self.intents.items() if not one.answers and name not in started and one.handoff is None]
        if mute:
            raise ConfigError(
                f"The intent '{mute[0]}' in {where}/answers.yaml has no answer; expected one, a flow that begins with it, or `handoff`. "
                "Write an answer."
            )
        named = [name for rule in self.handoff.rules for name in rule.intents]
        named += [
            choice.value.removeprefix(ASK_INTENT)
            for entry in self.intents.values()
            for answer in entry.answers
            for choice in answer.choices
            if choice.value.startswith(ASK_INTENT)
        ]
        for intent in named:
            if intent not in self.intents:
                raise UnknownName("intent", intent, self.intents, f"{where}/answers.yaml")

    def language(self, wanted: str | None) -> str:
        """Return the language in which it answers somebody who wants, or writes, this one."""
        return wanted if wanted in self.languages else self.languages[0]

    def say(self, name: str, language: str, turn: int = 0, values: Mapping[str, Any] | None = None) -> str:
        """Return a sentence; of several variants, the one whose turn it is."""
        return fill(pick(self.texts.get(name) or sentences()[name], language, turn), values or {})

    def has_text(self, name: str) -> bool:
        """Return whether there is a sentence with this name."""
        return name in self.texts or name in sentences()

    def intent_title(self, intent: str, language: str) -> str:
        """Return what people read for an intent."""
        entry = self.intents.get(intent)
        return one_of(entry.title, language) if entry and entry.title else intent.replace("_", " ")

    def entry_title(self, entry: FaqEntry, language: str) -> str:
        """Return what people read for an entry of the FAQ: its title, or the first way to ask."""
        return one_of(entry.title, language) if entry.title else pick(entry.questions, language, 0)

    def answer(self, intent: str, facts: Mapping[str, Any], at: float) -> CuratedAnswer | None:
        """Return the first answer to an intent that is valid at a time and whose conditions hold; None if there is none."""
        today = self.day(at)
        entry = self.intents.get(intent)
        return next((one for one in entry.answers if is_valid(one, today) and holds(one.when, facts)), None) if entry else None

    def rule(self, intent: str | None, facts: Mapping[str, Any]) -> Rule | None:
        """Return the first rule of the business by which a person takes over."""
        return next((rule for rule in self.handoff.rules if (not rule.intents or intent in rule.intents) and holds(rule.when, facts)), None)

    def day(self, at: float) -> date:
        """Return the day at a time, in seconds since 1970, where the people of the product are."""
        return datetime.fromtimestamp(at, self._zone).date()

    @property
    def _zone(self) -> ZoneInfo | Any:
        return ZoneInfo(self.hours.zone) if self.hours else ZoneInfo(self.flows.timezone) if self.flows.timezone != "UTC" else UTC

    def opens(self, at: float) -> str | None:
        """Return when people answer again, such as `2030-05-06 09:00`; None if they answer now, or always."""
        if self.hours is None:
            return None
        now = datetime.fromtimestamp(at, self._zone)
        coming: list[str] = []
        for ahead in range(_AHEAD):
            day = date.fromordinal(now.date().toordinal() + ahead)
            if day in self.hours.closed:
                continue
            for span in sorted(self.hours.week.get(_DAYS[day.weekday()], [])):  # type: ignore[call-overload]
                begin, _, end = span.partition("-")
                if ahead == 0 and begin <= f"{now:%H:%M}" < end:
                    return None
                if ahead or begin > f"{now:%H:%M}":
                    coming.append(f"{day} {begin}")
            if coming:
                break
        return coming[0] if coming else ""


def pick(texts: Mapping[str, Sequence[str]], language: str, turn: int) -> str:
    """Return the text in a language, or else in the first one; of several variants, the one whose turn it is."""
    variants = texts.get(language) or next(iter(texts.values()))
    return variants[turn % len(variants)]


def one_of(texts: Mapping[str, str], language: str) -> str:
    """Return the text in a language, or else in the first one."""
    return texts.get(language) or next(iter(texts.values()))


def holds(when: Condition, facts: Mapping[str, Any]) -> bool:
    """Return whether each named fact has the value, or one of the values, that a condition names; null means that it is not known."""
    return all(facts.get(name) in (value if isinstance(value, list) else [value]) for name, value in when.items())


def is_valid(entry: CuratedAnswer | FaqEntry, today: date) -> bool:
    """Return whether an answer may be given on a day."""
    return (entry.valid_from is None or entry.valid_from <= today) and (entry.valid_until is None or today <= entry.valid_until)


def buttons(choices: Sequence[ChoiceText], language: str) -> list[Choice]:
    """Return the buttons of an answer in a language."""
    return [Choice(title=one_of(one.title, language), value=one.value or one_of(one.title, language)) for one in choices]


def links(attachments: Sequence[AttachmentText], language: str) -> list[Attachment]:
    """Return the links and pictures of an answer in a language."""
    return [Attachment(kind=one.kind, title=one_of(one.title, language), url=one.url) for one in attachments]
