"""The words by which messages are read: the built-in ones of `words.yaml`, and those that a pack adds; knows nothing of messages.

`lexicon.yaml` of a pack has the form of the class `Lexicon`; its words join the built-in ones.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field, model_validator

from vertune.core.bounded_yaml import read_yaml
from vertune.core.section import Section
from vertune.dialogue.characters import any_of
from vertune.dialogue.flows import Name, Option, Words, pick_words

_BUILT_IN = Path(__file__).with_name("words.yaml")


class Phrases(Section):
    """Words that mean one thing."""

    words: Words = Field(default_factory=dict)
    """The words in each language; they are found anywhere in a message. `(a|the) person` is short for two of them."""
    unless: Words = Field(default_factory=dict)
    """Longer words in which they don't count, such as `artificial intelligence` for `intelligence`."""

    @model_validator(mode="before")
    @classmethod
    def _words_alone(cls, value: Any) -> Any:
        """Let `{en: […], zh: […]}` be short for `{words: {en: […], zh: […]}}`."""
        return {"words": value} if isinstance(value, dict) and not value.keys() & {"words", "unless"} else value

    def joined(self, other: Phrases) -> Phrases:
        """Return the words of both."""
        return Phrases(words=_joined(self.words, other.words), unless=_joined(self.unless, other.unless))

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """Yield where words stand in a plain text, the longer ones first at each place."""
        words, unless = self._expressions
        covered = deque(match.span() for match in unless.finditer(text))
        for match in words.finditer(text):
            while covered and covered[0][1] < match.end():
                covered.popleft()
            if not covered or match.start() < covered[0][0]:
                yield match

    @functools.cached_property
    def _expressions(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return any_of(pick_words(self.words), drawn_out=True), any_of(pick_words(self.unless))


class Found(NamedTuple):
    """A word in a text: what it means, which of several things of that kind, and where it stands."""

    kind: str
    name: str
    start: int
    end: int


class Lexicon(Section):
    """The words of a pack."""

    human: Phrases = Phrases()
    """Asking for a person."""
    human_alone: Phrases = Phrases()
    """The same, if it is the complete message, as are the other words in fields whose names end so."""
    cancel: Phrases = Phrases()
    """Leaving what is being done."""
    cancel_alone: Phrases = Phrases()
    """The same, if it is the complete message."""
    leave: Phrases = Phrases()
    """Leaving what is being done; a wish of its own if nothing is being done, such as 不买了."""
    repeat: Phrases = Phrases()
    """Asking for the last reply again."""
    repeat_alone: Phrases = Phrases()
    thanks: Phrases = Phrases()
    greeting: Phrases = Phrases()
    greeting_alone: Phrases = Phrases()
    goodbye: Phrases = Phrases()
    goodbye_alone: Phrases = Phrases()
    not_that: Phrases = Phrases()
    """Something else was meant than what was answered."""
    correct: Phrases = Phrases()
    """A detail is to be replaced."""
    angry: Phrases = Phrases()
    affirm: Phrases = Phrases()
    """Saying yes."""
    deny: Phrases = Phrases()
    """Saying no."""
    unsure: Phrases = Phrases()
    """Not knowing what was asked for."""
    courtesy: Phrases = Phrases()
    """Words that add nothing, such as `please`."""
    small_talk: dict[Name, Phrases] = Field(default_factory=dict, max_length=50)
    """Small talk by name; what is replied is the text `small_talk_<name>` of the pack."""
    sensitive: dict[Name, Phrases] = Field(default_factory=dict, max_length=50)
    """Topics by name that a person must treat."""
    gazetteers: dict[Name, list[Option]] = Field(default_factory=dict, max_length=100)
    """Lists of values for slots of the kind `choice`, by name."""

    @classmethod
    def built_in(cls) -> Lexicon:
        """Return the words that hold in every field of work."""
        return _built_in()

    def merged(self) -> Self:
        """Return these words together with the built-in ones."""
        base = _built_in()
        joined: dict[str, Any] = {"gazetteers": self.gazetteers}
        for name in type(self).model_fields:
            ours, theirs = getattr(self, name), getattr(base, name)
            if isinstance(ours, Phrases):
                joined[name] = theirs.joined(ours)
            elif name in _NAMED:
                joined[name] = {key: theirs.get(key, Phrases()).joined(ours.get(key, Phrases())) for key in (*theirs, *ours)}
        return self.model_copy(update=joined)

    def find(self, kind: str, text: str) -> list[Found]:
        """Return where words of a kind, such as `human` or `small_talk`, stand in a plain text."""
        value = getattr(self, kind)
        named = value if isinstance(value, dict) else {"": value}
        return [Found(kind, name, match.start(), match.end()) for name, phrases in named.items() for match in phrases.matches(text)]

    def waits(self, text: str) -> list[tuple[int, int]]:
        """Return where a plain text asks to wait, as `let me check` and 稍等 do."""
        waiting = self.small_talk.get("wait")
        return [match.span() for match in waiting.matches(text)] if waiting is not None else []


_NAMED = frozenset({"small_talk", "sensitive"})
"""Fields that hold words by name."""


@functools.cache
def _built_in() -> Lexicon:
    return Lexicon.model_validate(read_yaml(_BUILT_IN))


def _joined(one: Words, other: Words) -> Words:
    return {language: list(dict.fromkeys([*one.get(language, []), *other.get(language, [])])) for language in (*one, *other)}
