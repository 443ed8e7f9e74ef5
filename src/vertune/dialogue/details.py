"""Which details of a message belong to which slots of a flow, and whether a value may be taken; knows nothing of what is asked next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from vertune.dialogue.characters import any_of, plain
from vertune.dialogue.entities import Found, Options, find, show
from vertune.dialogue.entities.found import Prefer, longest
from vertune.dialogue.flows import Flow, Flows, Option, Slot, pick, pick_words
from vertune.dialogue.lexicon import Lexicon

_CUE_REACH = 25
"""Number of characters in front of a detail in which its cue may stand."""
_SHORT_WORDS, _SHORT_CHARACTERS = 3, 30
"""Size of a reply up to which it is a detail although it does not look like one."""
_BEGINS = re.compile(r"(?:^|[.!?;:]\s*)$")
"""What stands in front of the first word of a sentence."""
_LONGEST_TEXT = 1_000
"""Number of characters of a text that is taken as a detail."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the details of one message for the slots of a flow."""

    flows: Flows
    lexicon: Lexicon
    text: str
    at: float
    rest: str = ""
    """The text without courtesy; the text itself if it is empty."""

    def options(self, slot: Slot, asked: bool) -> Options:
        """Return how the details of a slot are read."""
        return Options(
            choices=self.choices(slot),
            pattern=slot.pattern,
            currency=slot.currency,
            timezone=self.flows.timezone,
            day_first=self.flows.day_first,
            prefer=_preference(slot),
            asked=asked,
            lexicon=self.lexicon,
        )

    def choices(self, slot: Slot) -> list[Option]:
        """Return the values of a choice; none for other slots."""
        return slot.options or self.lexicon.gazetteers.get(slot.gazetteer or "", [])

    def details(self, flow: Flow, known: Mapping[str, Any], asked: str | None, corrects: bool) -> dict[str, Found]:
        """Return the details of the message by slot.

        Longer details go first, so that the 5 of `5 May` is no number. A detail goes to the slot whose cue stands nearest in front of it,
        else to the slot that was asked for, else to the first slot of its kind without a value; a value is replaced if the message
        corrects, or if no other slot can take the detail. What replies to the question for a text is the complete message.
        """
        groups: dict[tuple[str, int, int], list[tuple[Slot, Found]]] = {}
        for slot, found in self._candidates(flow, asked):
            groups.setdefault((slot.kind, found.start, found.end), []).append((slot, found))
        spans = _disjoint([options[0][1] for options in groups.values()])
        taken: dict[str, Found] = {}
        chosen = sorted(
            (options for (_, start, end), options in groups.items() if (start, end) in spans), key=lambda options: options[0][1].start
        )
        for by_cue in (True, False):
            for options in chosen:
                if any(found in taken.values() for _, found in options):
                    continue
                place = self._by_cue(options, taken) if by_cue else _by_order(options, {**known, **taken}, asked, corrects)
                if place is not None and place.name not in taken:
                    taken[place.name] = next(found for slot, found in options if slot is place)
        return {**taken, **self._reply_text(flow, taken, asked, corrects)}

    def _candidates(self, flow: Flow, asked: str | None) -> Iterator[tuple[Slot, Found]]:
        for slot in flow.slots:
            if slot.kind == "text":
                yield from ((slot, found) for found in self._behind_cue(slot))
            elif slot.announced or slot.name == asked:
                yield from ((slot, found) for found in find(slot.kind, self.text, self.at, self.options(slot, slot.name == asked)))

    def _behind_cue(self, slot: Slot) -> Iterator[Found]:
        """Yield what stands behind a cue of a text and matches its pattern, as it is written."""
        if not slot.announced or slot.pattern is None:
            return
        folded = plain(self.text)
        for cue in any_of(pick_words(slot.cues)).finditer(folded):
            start = cue.end() + len(folded[cue.end() :]) - len(folded[cue.end() :].lstrip())
            match = re.compile(slot.pattern).match(self.text, start)
            if match and match.group():
                yield Found(match.start(), match.end(), match.group(), match.group())

    def _by_cue(self, options: list[tuple[Slot, Found]], taken: Mapping[str, Found]) -> Slot | None:
        """Return the slot whose cue stands nearest in front of a detail; None if none does."""
        start = options[0][1].start
        first = max([found.end for found in taken.values() if found.end <= start], default=0)
        before = plain(self.text)[max(first, start - _CUE_REACH) : start]
        nearest = [(cue.end(), slot) for slot, _ in options if slot.cues for cue in any_of(pick_words(slot.cues)).finditer(before)]
        return max(nearest, key=lambda one: one[0])[1] if nearest else None

    def _reply_text(self, flow: Flow, taken: Mapping[str, Found], asked: str | None, corrects: bool) -> dict[str, Found]:
        slot = flow.slot(asked) if asked else None
        if slot is None or slot.kind != "text" or slot.name in taken or (corrects and taken):
            return {}
        reply = self.rest or self.text
        cue = any_of(pick_words(slot.cues)).match(plain(reply))
        value = reply[cue.end() if cue else 0 :].strip()[:_LONGEST_TEXT]
        if slot.pattern is not None:
            value = self._matching(slot, value) or ""
        start = max(0, self.text.find(value))
        return {slot.name: Found(start, start + len(value), value, value)} if value else {}

    def _matching(self, slot: Slot, reply: str) -> str | None:
        """Return what matches the pattern of a text in a reply: all of it, or a part of a sentence; a short reply needs no match.

        What begins a sentence has a capital letter anyway, so that it counts only in a short reply.
        """
        pattern = slot.pattern or ""
        if re.fullmatch(pattern, reply):
            return reply
        inside = [match for match in re.finditer(pattern, reply) if match.group().isascii() and not _BEGINS.search(reply[: match.start()])]
        if inside:
            return inside[0].group()
        replied = any(self.lexicon.find(kind, plain(reply)) for kind in ("affirm", "deny", "thanks"))
        if replied or len(reply.split()) > _SHORT_WORDS or len(reply) > _SHORT_CHARACTERS:
            return None
        begins = re.match(pattern, reply, re.IGNORECASE)
        return begins.group() if begins and begins.group() else reply

    def problem(self, slot: Slot, value: Any) -> Mapping[str, str] | None:
        """Return what to say to a value that doesn't fulfil the check of its slot; None if it does."""
        check = slot.check
        if check is None:
            return None
        number = _measured(slot, value, self.options(slot, False).today(self.at))
        low = check.minimum is not None and (number is None or number < check.minimum)
        high = check.maximum is not None and (number is None or number > check.maximum)
        odd = check.pattern is not None and re.fullmatch(check.pattern, str(value)) is None
        return check.wrong if low or high or odd else None

    def shown(self, flow: Flow, values: Mapping[str, Any], language: str) -> dict[str, str]:
        """Return the values of slots as people read them."""
        return {slot.name: self._shown(slot, values[slot.name], language) for slot in flow.slots if slot.name in values}

    def _shown(self, slot: Slot, value: Any, language: str) -> str:
        titles = {option.value: pick(option.title, language) for option in self.choices(slot)}
        return titles.get(str(value)) or show(slot.kind, value, language)


class _Span(NamedTuple):
    start: int
    end: int


def _disjoint(found: list[Found]) -> set[tuple[int, int]]:
    """Return the places of details that are in no longer one; several details at one place are one."""
    places = dict.fromkeys(_Span(one.start, one.end) for one in found)
    return {(one.start, one.end) for one in longest([Found(place.start, place.end, None, "") for place in places])}


def _by_order(options: list[tuple[Slot, Found]], known: Mapping[str, Any], asked: str | None, corrects: bool) -> Slot | None:
    """Return the slot for a detail without a cue: the one that was asked for, the first without a value, or the one to be corrected."""
    slots = [slot for slot, _ in options]
    empty = [slot for slot in slots if slot.name not in known]
    for slot in empty:
        if slot.name == asked:
            return slot
    filled = [slot for slot in slots if slot.name in known]
    if corrects and filled:
        return filled[-1]
    return next(iter([*empty, *filled]), None)


def _preference(slot: Slot) -> Prefer:
    """Return which days a slot prefers, by the days that its check allows."""
    check = slot.check
    if check is not None and check.maximum is not None and check.maximum <= 0:
        return "past"
    return "future" if check is not None and check.minimum is not None and check.minimum >= 0 else "nearest"


def _measured(slot: Slot, value: Any, today: date) -> float | None:
    """Return the number that a check compares: days from today, an amount, a number; None if there is none."""
    try:
        if slot.kind == "date":
            return float((date.fromisoformat(str(value)) - today).days)
        return float(str(value).split()[0])
    except (ValueError, IndexError):
        return None
