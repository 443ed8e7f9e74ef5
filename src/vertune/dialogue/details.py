"""Which details of a message belong to which slots of a flow, and whether a value may be taken; knows nothing of what is asked next."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from vertune.dialogue.characters import any_of, blanked, plain
from vertune.dialogue.entities import Found, Options, find, show
from vertune.dialogue.entities.found import Prefer, longest
from vertune.dialogue.evasions import gives_nothing
from vertune.dialogue.flows import Flow, Flows, Option, Slot, pick, pick_words
from vertune.dialogue.lexicon import Lexicon
from vertune.dialogue.patterns import means_something
from vertune.dialogue.retracted import is_negated, is_open, is_relative, meant

_CUE_REACH = 25
"""Number of characters in front of a detail in which its cue may stand."""
_SHORT_WORDS, _SHORT_CHARACTERS = 3, 30
"""Size of a reply up to which it is a detail although it does not look like one."""
_BEGINS = re.compile(r"(?:^|[.!?;:]\s*)$")
"""What stands in front of the first word of a sentence."""
_NO_NAMES = ("thanks", "goodbye", "greeting", "affirm", "deny", "cancel", "cancel_alone", "correct")
_SHORTEST_NAME = 2
"""Number of characters of a text behind a cue up to which a last particle belongs to it."""
_LONGEST_TEXT = 1_000
"""Number of characters of a text that is taken as a detail."""
_BARE = frozenset({"amount", "card_ending", "date"})
"""Kinds with short forms, such as an amount without its currency, which count in replies and in some other places."""
_REPLY_WORDS = ("correct", "affirm", "deny", "thanks", "courtesy", "greeting")
"""Words that may stand beside the short form of a detail in a correction."""
_BESIDE = re.compile(
    r"(?<![a-z])(?:i?\s?said|say|only|just|oops|ooh|wait|instead|other|should|of|for|from|in|on|at|into|with|using|use|by|no|not|but|lower|raise|increase|reduce|it's|that's|i'm)(?![a-z])"
    r"|[过但可说写填转付打汇用从改只就行够才来着错多少点元号账卡这个到是不好然后等等哎噢咳]"
)
"""Other words that may."""
_NO_NUMBERS = frozenset({"one", "a", "an", "一"})
"""Numbers that rather point at something, as in `the right one`."""
_ENDS_AMOUNT = re.compile(
    r"\s*$|\s*[,.;!?，。；！？、)）\n]|\s*[给到去吧过了元往向至用从]|\s+(?:to|from|for|using|with|please|now|today|tomorrow|by|into|as|and|via|out|or)(?![a-z])"
)
"""What follows an amount without a currency behind its cue, and not the number of something else."""
_SEGMENT = re.compile(r"(?:^|[,，、;；\n:：])\s*$"), re.compile(r"\s*(?:$|[,，、;；\n])")
"""What stands in front of and behind a part of a list."""
_REPLACES = re.compile(r"(?<![a-z])(?:it's|it is|should be|is|for|to)(?![a-z])|(?<![是不])是|给")
"""What may stand in front of the text that corrects another one."""
_TYPED = ("date", "time", "number", "order_number", "phone", "mail")
"""Kinds of what is no text that corrects another one."""
_NAME = re.compile(r"[a-z]{3,}")
_PARTICLES = " \t\n吧呀啊哦。.!！,，"
_LEADS = re.compile(r"^\W*(?:请|就|那就|帮我|把)?(?:改成|改为|改到|换成|更正为|change it to|change to|make it|put)\s*[:：]?\s*")
_CALLED = re.compile(r"(?:收款人|对方|名字|姓名|他|她)*(?:是|叫|名叫)|(?:his|her|their|the)\s+name\s+is\s")
"""What stands in front of a name."""
_SAYS = r"\s*(?:应该|就)?\s*(?:is|are|should be|to|是|为|叫|改成|改为|改到|换成|写|填|[:：])\s*[:：]?\s*"
"""What stands between the name of a detail and the detail."""


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
        corrects, or if no other slot can take the detail. What replies to the question for a text is the complete message. What is
        negated or replaced in the message is no detail, and one of which the message leaves open which one is meant isn't either.
        """
        groups: dict[tuple[str, int, int], list[tuple[Slot, Found]]] = {}
        candidates = list(self._candidates(flow, known if corrects else {}, asked))
        for slot, found in [*candidates, *self._bare(flow, known, asked, corrects, candidates)]:
            groups.setdefault((slot.kind, found.start, found.end), []).append((slot, found))
        spans = _disjoint([options[0][1] for options in groups.values()])
        taken: dict[str, Found] = {}
        chosen = sorted(
            (options for (_, start, end), options in groups.items() if (start, end) in spans),
            key=lambda options: (options[0][1].start, all(slot.name != asked for slot, _ in options), options[0][0].kind == "text"),
        )
        for by_cue in (True, False):
            for options in chosen:
                if any(found.start == other.start and found.end == other.end for _, found in options for other in taken.values()):
                    continue
                place = self._by_cue(options, taken) if by_cue else _by_order(options, {**known, **taken}, asked, corrects)
                if place is not None and place.name not in taken:
                    taken[place.name] = next(found for slot, found in options if slot is place)
        return {**taken, **self._reply_text(flow, taken, asked, corrects)}

    def _candidates(self, flow: Flow, corrected: Mapping[str, Any], asked: str | None) -> Iterator[tuple[Slot, Found]]:
        """Yield what the message holds for each slot; `corrected` are the values that it may replace."""
        folded = plain(self.text)
        for slot in flow.slots:
            if slot.kind == "text":
                yield from ((slot, found) for found in self._behind_cue(slot, corrected.get(slot.name)))
            elif slot.announced or slot.name == asked:
                found = self._meant(slot, slot.name == asked)
                if slot.name in corrected and slot.name != asked:
                    found = [one for one in found if not is_relative(folded, one)]
                if not is_open(folded, found, ranges=not any(slot is not other and alike(slot, other) for other in flow.slots)):
                    yield from ((slot, one) for one in found)

    def _meant(self, slot: Slot, asked: bool) -> list[Found]:
        """Return what the message holds for a slot and its customer means; of two options, one is meant if the other one is negated."""
        found = find(slot.kind, self.text, self.at, self.options(slot, asked))
        if slot.kind == "yes_no":
            return found
        if slot.kind == "choice" and len({one.value for one in found}) > 1:
            found = [one for one in found if not self._only_corrects(one)] or found
        left = meant(plain(self.text), found, refusable=slot.kind != "choice")
        if slot.kind == "choice" and found and not left:
            others = [option for option in self.choices(slot) if option.value not in {one.value for one in found}]
            return [found[0]._replace(value=others[0].value)] if len(others) == 1 else []
        return left

    def _only_corrects(self, found: Found) -> bool:
        """Return whether what names an option is only a word that corrects: `the reason is wrong, it is broken`."""
        word = plain(found.raw)
        return any((one.start, one.end) == (0, len(word)) for kind in ("deny", "correct") for one in self.lexicon.find(kind, word))

    def _bare(
        self, flow: Flow, known: Mapping[str, Any], asked: str | None, corrects: bool, candidates: list[tuple[Slot, Found]]
    ) -> Iterator[tuple[Slot, Found]]:
        """Yield details in their short forms, such as an amount without its currency, beside the reply to the question for them.

        They count right behind a cue, as a part of a list, and in a message that says nothing else: `send 200 to Ann`, `Ann, 200`,
        `no, 200`. One that may belong to several slots is none.
        """
        folded, offered = plain(self.text), []
        places = [_Span(found.start, found.end) for _, found in candidates]
        for slot in flow.slots:
            if slot.kind not in _BARE or slot.name == asked or (slot.name in known and not corrects):
                continue
            found = [one for one in find(slot.kind, self.text, self.at, self.options(slot, True)) if not _overlaps(one, places)]
            found = [one for one in found if plain(one.raw) not in _NO_NUMBERS]
            left = [one for one in meant(folded, found) if slot.name not in known or not is_relative(folded, one)]
            if not left or is_open(folded, left, ranges=True):
                continue
            alone = not self.says_more(flow, [*places, *((one.start, one.end) for one in found)])
            fits = [one for one in left if alone or (slot.kind == "amount" and (self._is_cued(slot, one) or self._is_listed(one)))]
            fits += [
                one for one in left if slot.kind == "amount" and one not in fits and slot.name in known and self._is_corrected(slot, one)
            ]
            offered += [(slot, one) for one in fits if slot.name in known or slot.kind == "amount"]
        named = [(slot, one) for slot, one in offered if any(plain(title) in folded for title in slot.title.values())]
        offered = named or offered
        if len({slot.name for slot, _ in offered}) == 1:
            yield from offered

    def says_more(self, flow: Flow, places: Sequence[tuple[int, int]]) -> bool:
        """Return whether a message says more than the details at some places, and what belongs to them or corrects them."""
        folded = blanked(plain(self.text), places)
        words = any_of(word for slot in flow.slots for word in (*slot.title.values(), *pick_words(slot.cues)))
        folded = blanked(folded, [match.span() for match in words.finditer(folded)])
        folded = blanked(folded, [(found.start, found.end) for kind in _REPLY_WORDS for found in self.lexicon.find(kind, folded)])
        return means_something(_BESIDE.sub(" ", folded))

    def _is_cued(self, slot: Slot, found: Found) -> bool:
        """Return whether an amount without a currency stands right behind a cue of its slot, and counts nothing."""
        folded = plain(self.text)
        cues = any_of(pick_words(slot.cues)).finditer(folded[: found.start])
        name = self.text[found.end : found.end + 2].strip()
        return any(not folded[cue.end() : found.start].strip() for cue in cues) and (
            bool(_ENDS_AMOUNT.match(folded, found.end)) or name[:1].isupper()
        )

    def _is_corrected(self, slot: Slot, found: Found) -> bool:
        """Return whether an amount stands behind a word that corrects, and counts nothing: `change the amount to 25`, 改成25."""
        folded = plain(self.text)
        named = any_of(slot.title.values())
        between = [folded[one.end : found.start] for one in self.lexicon.find("correct", folded[: found.start])]
        behind = any(re.fullmatch(rf"\s*(?:{_SAYS})?", named.sub("", one)) for one in between)
        return behind and bool(_ENDS_AMOUNT.match(folded, found.end))

    def _is_listed(self, found: Found) -> bool:
        return bool("," in plain(self.text) or "、" in self.text) and bool(
            _SEGMENT[0].search(self.text[: found.start]) and _SEGMENT[1].match(self.text, found.end)
        )

    def _behind_cue(self, slot: Slot, corrected: str | None) -> Iterator[Found]:
        """Yield what stands behind a cue of a text and matches its pattern, as it is written.

        In a correction of a value, words that correct are cues too, and so is that value if it is negated.
        """
        if not slot.announced or slot.pattern is None:
            return
        folded = plain(self.text)
        cues = [(*match.span(), False) for match in any_of(pick_words(slot.cues)).finditer(folded)]
        if corrected is not None:
            old = plain(str(corrected))
            cues += [
                (place.start(), place.end(), True) for place in re.finditer(re.escape(old), folded) if is_negated(folded, *place.span())
            ]
            cues += [(found.start, found.end, True) for found in self.lexicon.find("correct", folded)]
            cues += [(*match.span(), True) for match in _REPLACES.finditer(folded)]
            cues += [(*match.span(), True) for match in any_of(slot.title.values()).finditer(folded)]
            yield from self._named_alone(slot, str(corrected))
        for start, end, corrects in cues:
            place = end + len(folded[end:]) - len(folded[end:].lstrip(" ,，:：" if corrects else None))
            match = re.compile(slot.pattern).match(self.text, place)
            if not match or not match.group() or (not corrects and is_negated(folded, start, start)) or is_negated(folded, end, end):
                continue
            if corrects and any(other == place for other, _, _ in cues):
                continue  # behind `should be` stands `for`, and behind this the text
            if not corrects or not any(find(kind, match.group(), self.at) for kind in _TYPED):
                value = match.group().rstrip("吧呀啊哦") if len(match.group()) > _SHORTEST_NAME else match.group()
                yield Found(match.start(), match.start() + len(value), value, value)

    def _named_alone(self, slot: Slot, old: str) -> Iterator[Found]:
        """Yield the text of a message that says no more than it, a no, and the negated old value: `no, Ann` and `Ann, not Bob`."""
        named = rf"(?P<named_alone>{slot.pattern})"
        for form in (rf"\s*(?:[Nn]o|[Nn]ope|不)\s*[,，]\s*{named}\W*", rf"\s*{named}\s*[,，]\s*(?:not|不是)\s*{re.escape(old)}\W*"):
            match = re.fullmatch(form, self.text)
            value = match["named_alone"] if match else ""
            cued = any_of(pick_words(slot.cues)).match(plain(value)) or any(find(kind, value, self.at) for kind in _TYPED)
            if match and not cued and not any(self.lexicon.find(kind, plain(value)) for kind in _NO_NAMES):
                yield Found(match.start("named_alone"), match.end("named_alone"), value, value)

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
        reply = self._reply()
        if gives_nothing(reply, self.lexicon):
            return {}
        if taken and not self.says_more(flow, [(found.start, found.end) for found in taken.values()]):
            return {}
        value = self._without_lead(slot, reply)[:_LONGEST_TEXT]
        if slot.pattern is not None:
            value = self._matching(slot, value.strip(_PARTICLES)) or ""
        written = _fitting(slot, value)
        start = max(0, self.text.find(value))
        return {slot.name: Found(start, start + len(value), written, value)} if value else {}

    def _reply(self) -> str:
        """Return the message from the first to the last word that isn't courtesy, with what stands between as it was written."""
        words = self.rest.split()
        if not words:
            return self.text
        start, end = self.text.find(words[0]), self.text.rfind(words[-1])
        return self.text[start : end + len(words[-1])] if 0 <= start <= end else self.rest

    def _without_lead(self, slot: Slot, reply: str) -> str:
        """Return a reply without words that only say which detail it is: `the address is …`, 改成…, and the cues of the slot."""
        folded = plain(reply)
        cue = any_of(pick_words(slot.cues)).match(folded)
        lead = cue or (_CALLED.match(folded) if slot.pattern else None) or _LEADS.match(folded) or _lead(slot).match(folded)
        return reply[lead.end() if lead else 0 :].strip() or reply.strip()

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


def alike(slot: Slot, other: Slot | None) -> bool:
    """Return whether two slots take the same values."""
    return other is not None and (slot.kind, slot.options, slot.gazetteer) == (other.kind, other.options, other.gazetteer)


def _lead(slot: Slot) -> re.Pattern[str]:
    """Return the expression for a beginning of a reply that names the slot by a word of its title, such as 税号是."""
    names = {name for title in slot.title.values() for name in (_NAME.findall(plain(title)) if title.isascii() else [plain(title)[-2:]])}
    if not names:
        return re.compile(r"(?!)")
    return re.compile(rf"^(?:[\u3400-\u9fff]{{0,8}}|(?:[a-z']+\s+){{0,4}})(?:{'|'.join(map(re.escape, sorted(names)))}){_SAYS}(?=\S)")


def _fitting(slot: Slot, value: str) -> str:
    """Return a text in half width, and without what stands around the part that the check of its slot allows, if that makes it right."""
    pattern = slot.check.pattern if slot.check else None
    if pattern is None or re.fullmatch(pattern, value):
        return value
    narrow = unicodedata.normalize("NFKC", value)
    parts = [match for match in re.finditer(rf"(?<![0-9A-Za-z])(?:{pattern})(?![0-9A-Za-z])", narrow) if match.group().strip()]
    return parts[0].group().strip() if len(parts) == 1 else value


def _overlaps(found: Found, places: Sequence[tuple[int, int]]) -> bool:
    return any(found.start < end and start < found.end for start, end in places)


class _Span(NamedTuple):
    start: int
    end: int


def _disjoint(found: list[Found]) -> set[tuple[int, int]]:
    """Return the places of details that are in no longer one; several details at one place are one."""
    places = dict.fromkeys(_Span(one.start, one.end) for one in found)
    return {(one.start, one.end) for one in longest([Found(place.start, place.end, None, "") for place in places])}


def _by_order(options: list[tuple[Slot, Found]], known: Mapping[str, Any], asked: str | None, corrects: bool) -> Slot | None:
    """Return the slot for a detail without a cue: the one that was asked for, the first without a value, or the one to be corrected."""
    slots = [slot for slot, _ in options if slot.kind != "number" or slot.name == asked or (corrects and slot.name in known)]
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
