"""Applies several masks to texts, and gives equal values of a record the same placeholder; knows no mask."""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vertune.core.mask import Mask
from vertune.masking.plain import plain

_DIGIT = re.compile("[0-9]")
_PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*_\d+>")


class Place(NamedTuple):
    """A part of a text, from `start` to `stop` (exclusive), that a placeholder replaces."""

    start: int
    stop: int
    label: str
    placeholder: str


@dataclass(frozen=True, slots=True)
class Masked:
    """The texts of a record with placeholders, and how many places of each kind were masked; the values themselves are not kept."""

    texts: list[str]
    counts: Counter[str]
    places: list[list[Place]]
    """For each text, what was replaced, in order."""

    def offset(self, text: int, old: int, end: bool = False) -> int:
        """Convert an offset in the original text to the offset of the same position in the masked text.

        `text` is the number of the text in the record. An offset inside of a masked place becomes the start of the placeholder; if it is
        the `end` of something, it becomes the end of the placeholder.
        """
        moved = 0
        for place in self.places[text]:
            if old <= place.start:
                break
            if old < place.stop:
                return place.start + moved + (len(place.placeholder) if end else 0)
            moved += len(place.placeholder) - (place.stop - place.start)
        return old + moved


@dataclass(frozen=True, slots=True)
class Masker:
    """Replaces what several masks find by placeholders such as `<PHONE_1>`."""

    masks: Sequence[Mask]
    """Where places overlap, the longest counts, and of equally long ones that of the first mask."""

    def record(self, texts: Sequence[str]) -> Masked:
        """Mask the texts of one record; a value that occurs several times in them has the same number each time.

        Placeholders that a text already contains stay as they are, and new ones don't repeat their numbers.
        """
        numbers: dict[tuple[str, str], int] = {}
        highest = Counter[str]()
        taken = {match.group() for text in texts if "<" in text for match in _PLACEHOLDER.finditer(text)}
        places = [self._places_of(text, numbers, highest, taken) for text in texts]
        counts = Counter(place.label for found in places for place in found)
        return Masked([_replaced(text, found) for text, found in zip(texts, places, strict=True)], counts, places)

    def text(self, text: str) -> str:
        """Mask a text."""
        return self.record([text]).texts[0]

    def _places_of(self, text: str, numbers: dict[tuple[str, str], int], highest: Counter[str], taken: set[str]) -> list[Place]:
        """Return what must be replaced in a text.

        `numbers` are those of the values that the record had so far, and `highest` is the highest one of each label.
        """
        places = []
        for start, stop, label in self._places(text):
            key = label, "".join(filter(str.isalnum, plain(text[start:stop]).casefold()))
            if key not in numbers:
                number = 1 + highest[label]
                while f"<{label}_{number}>" in taken:
                    number += 1
                numbers[key] = highest[label] = number
            places.append(Place(start, stop, label, f"<{label}_{numbers[key]}>"))
        return places

    def _places(self, text: str) -> list[tuple[int, int, str]]:
        """Return the start, the end and the label of each place, in the order of the text, without overlaps."""
        form = plain(text)
        lower, numbers = form.lower(), _DIGIT.search(form) is not None
        found = [
            (start - stop, order, start, stop, mask.shown)
            for order, mask in enumerate(self.masks)
            if (numbers or not mask.digits) and _may_find(mask.hints, lower)
            for start, stop in mask.find(form)
        ]
        if not found:
            return []
        kept = [match.span() for match in _PLACEHOLDER.finditer(form)] if "<" in form else []
        places = []
        for _, _, start, stop, label in sorted(found):
            index = bisect(kept, (start, start))
            if (index == 0 or kept[index - 1][1] <= start) and (index == len(kept) or kept[index][0] >= stop):
                kept.insert(index, (start, stop))
                places.append((start, stop, label))
        return sorted(places)


def _replaced(text: str, places: Sequence[Place]) -> str:
    if not places:
        return text
    parts, end = [], 0
    for place in places:
        parts += [text[end : place.start], place.placeholder]
        end = place.stop
    return "".join([*parts, text[end:]])


def _may_find(hints: Sequence[str], lower: str) -> bool:
    """Return whether a text in lower case contains one of the hints, or there are none."""
    for hint in hints:  # faster than any() on a generator
        if hint in lower:
            return True
    return not hints
