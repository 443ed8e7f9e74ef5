"""Converts the positions of spans from UTF-16 units or UTF-8 bytes to code points, and recognises in which of them they are counted.

Programs in JavaScript and Java count UTF-16 units, in which an emoji has the length 2; other programs count the bytes of UTF-8.
Independent of tokens and models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

UNITS = ("code_points", "utf16", "utf8")
_ENOUGH_SPANS = 3
"""Least number of spans that differ between the units, from which the unit is recognised."""
_MARGIN = 0.25
"""By how much the score of another unit must exceed that of code points; a score is a share between 0 and 1."""


def borders(text: str, unit: str) -> dict[int, int]:
    """Map the position of each border between characters, counted in `unit`, to the position in code points."""
    widths = {"utf16": lambda character: 2 if ord(character) > 0xFFFF else 1, "utf8": lambda character: len(character.encode())}
    if unit == "code_points":
        return {place: place for place in range(len(text) + 1)}
    return {at: place for place, at in enumerate(accumulate(map(widths[unit], text), initial=0))}


def differs(text: str, unit: str) -> bool:
    """Return whether positions in this text can differ between `unit` and code points."""
    return not text.isascii() if unit == "utf8" else bool(text) and max(text) > "\uffff"


def convert(text: str, spans: Iterable[Mapping[str, Any]], unit: str) -> list[dict[str, Any]] | None:
    """Return the spans with positions in code points; None if a span does not begin and end between two characters of the text."""
    known = borders(text, unit)
    found = [{**span, "start": known.get(span["start"]), "end": known.get(span["end"])} for span in spans]
    return None if any(span["start"] is None or span["end"] is None for span in found) else found


@dataclass(slots=True)
class _Tally:
    """How well spans fit their texts if their positions are counted in one unit."""

    well_formed: int = 0
    """Number of spans that lie within the text, and begin and end at the borders of words."""
    surfaces: list[tuple[str, str]] = field(default_factory=list)
    """The marked text and the label of each span that lies within its text."""

    def score(self, spans: int, elsewhere: Counter[tuple[str, str]]) -> float:
        """Return the mean of two shares of the spans: the well-formed ones, and those whose text is marked elsewhere, too."""
        own = Counter(self.surfaces)
        recurring = sum(own[surface] + elsewhere[surface] > 1 for surface in self.surfaces)
        return (self.well_formed + recurring) / (2 * spans)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Spans whose positions are counted in another unit than code points, with one of them as example."""

    unit: str
    spans: int
    """Number of spans whose text depends on the unit."""
    as_code_points: str
    """The marked text of the example, if its positions are counted in code points."""
    marked: str
    """The marked text of the example, if its positions are counted in `unit`."""


def recognise(rows: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> Mismatch | None:
    """Return in which other unit than code points the spans of these texts are counted; None if code points fit as well.

    A unit fits better if the spans lie within their texts, begin and end at the borders of words, and mark texts that are marked in
    other rows, too.
    """
    return next((found for unit in UNITS[1:] if (found := _compare(rows, unit)) is not None), None)


def _compare(rows: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], unit: str) -> Mismatch | None:
    """Compare `unit` with code points, on those spans whose marked text differs between the two."""
    tallies = {"code_points": _Tally(), unit: _Tally()}
    elsewhere: Counter[tuple[str, str]] = Counter()
    count, example = 0, ("", "")
    for text, spans in rows:
        known = borders(text, unit) if differs(text, unit) else {}
        for span in spans:
            start, end = span["start"], span["end"]
            if not known or (known.get(start) == start and known.get(end) == end):
                elsewhere[text[start:end], span["label"]] += 1
                continue
            count += 1
            moved = known.get(start, -1), known.get(end, -1)
            _add(tallies["code_points"], text, (start, end), span["label"])
            _add(tallies[unit], text, moved, span["label"])
            example = example if any(example) else (text[start:end], text[moved[0] : moved[1]])
    if count < _ENOUGH_SPANS:
        return None
    plain, other = (tally.score(count, elsewhere) for tally in tallies.values())
    fits = tallies[unit].well_formed >= 0.9 * count and other >= plain + _MARGIN
    return Mismatch(unit, count, *example) if fits else None


def _add(tally: _Tally, text: str, place: tuple[int, int], label: str) -> None:
    """Count one span, at the given start and end in code points."""
    start, end = place
    if not 0 <= start < end <= len(text):
        return
    marked = text[start:end]
    tally.surfaces.append((marked, label))
    inside = (start > 0 and _same_word(text[start - 1], text[start])) or (end < len(text) and _same_word(text[end - 1], text[end]))
    tally.well_formed += not inside and marked == marked.strip()


def _same_word(one: str, other: str) -> bool:
    """Return whether two adjacent characters belong to one word; scripts without spaces, such as Chinese, have no such pairs."""
    return one.isalnum() and other.isalnum() and max(one, other) < "\u2e80"
