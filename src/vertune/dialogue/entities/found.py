"""What a detail in a text is, and what finders of details need; knows no kind of detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from vertune.dialogue.flows import Option
from vertune.dialogue.lexicon import Lexicon

Prefer = Literal["past", "future", "nearest"]


class Found(NamedTuple):
    """A detail in a text."""

    start: int
    end: int
    value: Any
    """Its normal form: `2026-05-03`, `15:30`, `50.00 EUR`, a number, `1234`, `+442079460958` (E.164), true or false, an option's value."""
    raw: str
    """What was written."""


@dataclass(frozen=True, slots=True)
class Options:
    """How details of one slot are read."""

    choices: Sequence[Option] = ()
    """The values of a choice."""
    pattern: str | None = None
    """How an order number looks."""
    currency: str | None = None
    """The currency of amounts that are written without one."""
    countries: Sequence[str] = ("CN", "US", "GB")
    """Countries (ISO 3166) whose telephone numbers are written without the country's code."""
    timezone: str = "UTC"
    day_first: bool = True
    """Whether 3/4 is the third of April."""
    prefer: Prefer = "nearest"
    """Which day is meant by a date without a year, or by a day of the week."""
    asked: bool = False
    """Whether the text replies to the question for this detail; then short forms count, such as four digits for the end of a card."""
    lexicon: Lexicon | None = None
    """The words for yes and no; the built-in ones if there are none."""

    def today(self, at: float) -> date:
        """Return the day at a time in seconds since 1970."""
        return datetime.fromtimestamp(at, ZoneInfo(self.timezone)).date()


def longest(found: Sequence[Found]) -> list[Found]:
    """Return the details that are in no longer one and overlap no earlier one of the same length, in the order of their places."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start - one.end, one.start)):
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.start)
