"""The schema of `flows.yaml`: which details a flow collects, what it asks, confirms and calls; independent of how a flow runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vertune.core.section import Section
from vertune.core.zone import ZoneName

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Texts = Annotated[dict[str, Annotated[str, Field(min_length=1, max_length=2_000)]], Field(min_length=1, max_length=10)]
"""A text in each language, such as `{en: …, zh: …}`; `{slot}` in it is replaced by what is known."""
Words = dict[str, list[Annotated[str, Field(min_length=1, max_length=500)]]]
"""Words in each language; `(a|the) person` is short for two of them."""
Kind = Literal[
    "date", "time", "amount", "number", "card_ending", "order_number", "phone", "mail", "yes_no", "choice", "text"
]  # fmt: skip
_BY_CUE = frozenset({"number", "text"})
"""Kinds of which nearly any message contains one, so that only a cue tells one of them."""
_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Option(Section):
    """One value of a choice, with the words that mean it."""

    value: str = Field(min_length=1, max_length=200)
    """What the slot contains when it is chosen."""
    title: Texts
    """What the button says; it is also found in messages."""
    words: Words = Field(default_factory=dict)
    """Other words for it in each language."""


class Check(Section):
    """What a value must fulfil."""

    minimum: float | None = None
    """Smallest number or amount; of a date, the number of days from today (`-90` is 90 days ago)."""
    maximum: float | None = None
    """Largest number or amount; of a date, the number of days from today (`0` refuses dates in the future)."""
    pattern: str | None = Field(default=None, max_length=300)
    """A regular expression that the complete value must match."""
    wrong: Texts
    """What the customer reads if the value doesn't fulfil it; `{value}` in it is what was written."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return _expression(value)


class Slot(Section):
    """One detail that a flow collects."""

    name: Name
    kind: Kind = "text"
    title: Texts
    """What people call it, such as `card number`; used when they want to change it."""
    ask: Texts
    """The question for it."""
    again: Texts | None = None
    """The question after a reply without it; by default the same question."""
    required: bool = True
    """Whether it is asked for; a detail that isn't required is taken if it is mentioned."""
    when: dict[Name, str | int | float | bool] = Field(default_factory=dict)
    """The slot is asked for only if other slots have these values."""
    known: str | None = Field(default=None, max_length=100)
    """What the operator's page knows under this name fills the slot without a question."""
    cues: Words = Field(default_factory=dict)
    """Words in front of it that tell it from another slot of the same kind, such as `from` and `to`."""
    pattern: str | None = Field(default=None, max_length=300)
    """How an order number looks, as a regular expression; or what a text must look like to be found behind its cues in any message."""
    options: list[Option] = Field(default_factory=list, max_length=500)
    """The values of a choice."""
    gazetteer: Name | None = None
    """The list in `lexicon.yaml` that holds the values of a choice, instead of `options`."""
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    """The currency of an amount that is written without one (ISO 4217)."""
    check: Check | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return _expression(value)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind == "choice") != bool(self.options or self.gazetteer):
            raise ValueError(
                f"the slot {self.name} is of kind {self.kind}: write options or a gazetteer for a choice, and for no other kind"
            )
        if self.options and self.gazetteer:
            raise ValueError(f"the slot {self.name} has options and a gazetteer; write one of them")
        return self

    @property
    def announced(self) -> bool:
        """Whether a message that doesn't reply to the question may contain it."""
        if self.kind in _BY_CUE:
            return bool(self.cues) and (self.kind != "text" or self.pattern is not None)
        return self.kind != "yes_no"


class Act(Section):
    """The action of the operator that a flow calls."""

    action: Name
    arguments: dict[Name, Name] = Field(default_factory=dict)
    """The slot of each argument; empty: all slots under their own names."""


class Flow(Section):
    """Something that is done for a customer in several turns."""

    name: Name
    title: Texts
    """What people read when it is cancelled or returned to."""
    intents: list[str] = Field(default_factory=list, max_length=50)
    """The intents that start it."""
    instead: list[Name] = Field(default_factory=list, max_length=5)
    """Flows that the words which start it may mean as well: buttons of its first question lead there, with the details known so far."""
    slots: list[Slot] = Field(default_factory=list, max_length=20)
    confirm: Texts | None = None
    """The question before the action; without it, nothing is confirmed."""
    act: Act | None = None
    done: Texts
    """The last text; with an action, its result is also filled in, such as `{balance}`."""
    failed: Texts | None = None
    """What is said if the action fails; without it, a failure is handed over to a person."""

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [slot.name for slot in self.slots]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the flow {self.name} has several slots {twice[0]}; rename one")
        for where, used in (("act.arguments", self.act.arguments.values() if self.act else ()), *((s.name, s.when) for s in self.slots)):
            unknown = sorted(set(used) - set(names))
            if unknown:
                raise ValueError(f"the flow {self.name} has no slot {unknown[0]}, which {where} names; its slots are {', '.join(names)}")
        unknown = sorted({place for text in (self.confirm or {}).values() for place in _PLACE.findall(text)} - set(names))
        if unknown:
            raise ValueError(f"the flow {self.name} has no slot {unknown[0]}, which its confirm text names; add it, or change the text")
        return self

    def slot(self, name: str) -> Slot | None:
        """Return the slot with this name, if the flow has it."""
        return next((slot for slot in self.slots if slot.name == name), None)

    def missing(self, values: Mapping[str, Any]) -> Slot | None:
        """Return the first slot that must still be asked for; None if all details are known."""
        for slot in self.slots:
            fits = all(values.get(name) == value for name, value in slot.when.items())
            if slot.required and slot.name not in values and fits:
                return slot
        return None


class Flows(Section):
    """All flows of a pack."""

    flows: list[Flow] = Field(default_factory=list, max_length=200)
    timezone: ZoneName = "UTC"
    """Where days begin, for dates such as `tomorrow`: a name of the time zone database, such as `Asia/Shanghai`."""
    day_first: bool = True
    """Whether 3/4 is the third of April rather than the fourth of March, where it isn't in Chinese."""
    misses: int = Field(default=2, ge=1, le=5)
    """After how many replies in a row that are of no use to a flow it hands over to a person."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, names in (
            ("flows with the name", [flow.name for flow in self.flows]),
            ("flows that start with the intent", [intent for flow in self.flows for intent in flow.intents]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"there are several {what} {twice[0]}; change all but one")
        begun = {flow.name for flow in self.flows if flow.intents}
        for flow in self.flows:
            unknown = sorted(set(flow.instead) - (begun - {flow.name}))
            if unknown:
                raise ValueError(f"the flow {flow.name} names {unknown[0]} in instead; write other flows there that an intent starts")
        return self

    def flow(self, name: str) -> Flow | None:
        """Return the flow with this name, if there is one."""
        return next((flow for flow in self.flows if flow.name == name), None)

    def started_by(self, intent: str | None) -> Flow | None:
        """Return the flow that an intent starts, if there is one."""
        return next((flow for flow in self.flows if intent in flow.intents), None) if intent else None


def pick(texts: Mapping[str, str], language: str | None) -> str:
    """Return the text in a language; in English, or else in the first language, if there is none in this one."""
    if language is not None and language in texts:
        return texts[language]
    return texts.get("en") or next(iter(texts.values()))


def pick_words(words: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the words of all languages, because people mix them."""
    return [word for listed in words.values() for word in listed]


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Return a text in which each `{name}` is replaced by its value; names without a value stay.

    Values are put in once and never read for further names, so that what a customer writes can't ask for another value.
    """
    return _PLACE.sub(lambda match: str(values[match[1]]) if match[1] in values else match[0], text)


def _expression(value: str | None) -> str | None:
    try:
        re.compile(value or "")
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}; correct it") from error
    return value
