"""Applies several masks to texts, and gives equal values of a record the same placeholder; knows no mask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vertune.core.mask import Mask
from vertune.masking.plain import plain

_DIGIT = re.compile("[0-9]")
_PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*_\d+>")


@dataclass(frozen=True, slots=True)
class Masked:
    """The texts of a record with placeholders, and how many places of each kind were masked; the values themselves are not kept."""

    texts: list[str]
    counts: Counter[str]


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
        taken = {match.group() for text in texts if "<" in text for match in _PLACEHOLDER.finditer(text)}
        counts: Counter[str] = Counter()
        return Masked([self._text(text, numbers, taken, counts) for text in texts], counts)

    def text(self, text: str) -> str:
        """Mask a text."""
        return self.record([text]).texts[0]

    def _text(self, text: str, numbers: dict[tuple[str, str], int], taken: set[str], counts: Counter[str]) -> str:
        found = self._places(text)
        if not found:
            return text
        parts, end = [], 0
        for start, stop, label in found:
            key = label, "".join(filter(str.isalnum, plain(text[start:stop]).casefold()))
            if key not in numbers:
                number = 1 + max((number for (other, _), number in numbers.items() if other == label), default=0)
                while f"<{label}_{number}>" in taken:
                    number += 1
                numbers[key] = number
            counts[label] += 1
            parts += [text[end:start], f"<{label}_{numbers[key]}>"]
            end = stop
        return "".join([*parts, text[end:]])

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
            if all(stop <= begin or start >= end for begin, end in kept):
                kept.append((start, stop))
                places.append((start, stop, label))
        return sorted(places)


def _may_find(hints: Sequence[str], lower: str) -> bool:
    """Return whether a text in lower case contains one of the hints, or there are none."""
    for hint in hints:  # faster than any() on a generator
        if hint in lower:
            return True
    return not hints
