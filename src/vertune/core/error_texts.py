"""Texts of errors in other languages: finds the pattern from which a text was written, and writes that of the language; knows no error.

An error is written in English where it is made. The file `sentences/errors.LANGUAGE.json` has a pattern of the language for each English
one: `errors` are complete texts, `parts` may stand in them, `invalid` is what pydantic says of values, and `counts` has the nouns that
follow a number, as in `42 rows`. In a pattern of the language, {0} quotes a value, and {0:t} is a text of ours that is written in the
language too. A test reads all errors of the source, so that none lacks a pattern. A text of another library has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

FOLDER = Path(__file__).with_name("sentences")
_PLACE = re.compile(r"\{(\d+)(:t)?\}")
_COUNT = re.compile(r"([\d,]+) ([a-z]+?)s?")
_END = re.compile(r"(?<=[.?!]) ")
"""What stands between two texts that were joined."""
_LONGEST, _LONGEST_OWNER = 4_000, 200
"""Characters of a text that is looked up, and of what stands before it, such as the name of a file."""
_SENTENCE = re.compile(r"^[A-Z'\0].*[.?](?:[ \0]|$)", re.DOTALL)
_MOST_WAYS = 50
"""Ways to divide a text that are compared."""
_LEAST_LETTERS = 6
"""Letters of a pattern that begins with a value, and of a part that is a sentence; one with fewer would fit any text."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """An English pattern, divided at its values, and that of the language."""

    fixed: tuple[str, ...]
    text: str

    @property
    def letters(self) -> int:
        return sum(map(str.isalpha, "".join(self.fixed)))

    def values(self, text: str) -> Iterator[tuple[str, ...]]:
        """Yield the values with which the pattern gives a text, in all ways in which it may do so."""
        first, *middle = self.fixed
        if not middle:
            return iter([()] if text == first else [])
        last = middle.pop()
        end = len(text) - len(last)
        fits = end >= len(first) and text.startswith(first) and text.endswith(last)
        return _divided(text[len(first) : end], middle) if fits else iter(())


def _divided(text: str, fixed: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield what stands around fixed texts, the ways with short values first."""
    if not fixed:
        yield (text,)
        return
    start, divides = text.find(fixed[0]), True
    while start >= 0 and divides:
        divides = False  # if nothing follows from here, nothing follows from a later place
        for rest in _divided(text[start + len(fixed[0]) :], fixed[1:]):
            divides = True
            yield (text[:start], *rest)
        start = text.find(fixed[0], start + 1)


class _Catalogue:
    """The patterns of one language."""

    def __init__(self, language: str) -> None:
        read: dict[str, dict[str, str]] = json.loads((FOLDER / f"errors.{language}.json").read_text("utf-8"))
        self._parts = _sorted({**read["invalid"], **read["parts"]})
        self._counts = read["counts"]
        sentences = [one for one in self._parts if _SENTENCE.search("\0".join(one.fixed)) and one.letters >= _LEAST_LETTERS]
        self._errors = sorted([*_sorted(read["errors"]), *sentences], key=lambda one: -one.letters)

    def error(self, text: str) -> str | None:
        """Return a text of an error, or of several that were joined, also with the name of their owner before them."""
        if (found := self._joined(text)) is not None:
            return found
        owner, colon, rest = text.partition(": ")
        if colon and len(owner) <= _LONGEST_OWNER and (found := self._joined(rest)) is not None:
            return f"{self.part(owner)}：{found}"
        return None

    def part(self, text: str) -> str:
        """Return what may stand in a text of an error; as it is if it is no text of ours."""
        count = _COUNT.fullmatch(text)
        if count is not None and count[2] in self._counts:
            return f"{count[1]} {self._counts[count[2]]}"
        capital = text[:1].upper() + text[1:]  # as it is written where it is no part
        found = self.error(text) or self._written(text, self._parts) or self._written(capital, self._parts)
        return text if found is None else found

    def _joined(self, text: str) -> str | None:
        for end in [*(one.start() for one in _END.finditer(text)), len(text)]:
            if (first := self._written(text[:end], self._errors)) is None:
                continue
            rest = "" if end == len(text) else self._joined(text[end + 1 :])
            if rest is not None:
                return first + rest
        return None

    def _written(self, text: str, patterns: Iterable[_Pattern]) -> str | None:
        for pattern in patterns:
            ways = list(islice(pattern.values(text), _MOST_WAYS))
            if ways:
                places = {int(place[1]) for place in _PLACE.finditer(pattern.text) if place[2]}
                # a value may contain what stands between two values; then a text of ours in the next place shows where it ends
                best = ways[0] if len(ways) == 1 else max(ways, key=lambda one: sum(self._is_part(one[place]) for place in places))
                return _filled(pattern.text, [self.part(value) if place in places else value for place, value in enumerate(best)])
        return None

    def _is_part(self, text: str) -> bool:
        return not text or self.part(text) != text


def _filled(pattern: str, values: Sequence[str]) -> str:
    return _PLACE.sub(lambda place: values[int(place[1])], pattern)


def translated(text: str, language: str) -> str | None:
    """Return the text of an error in a language; None if there is no pattern for it, and for English."""
    return None if language == "en" or len(text) > _LONGEST else _catalogue(language).error(text)


def translated_part(text: str, language: str) -> str:
    """Return a text that stands in those of errors, such as what pydantic says of a value; as it is if there is no pattern for it."""
    return text if language == "en" or len(text) > _LONGEST else _catalogue(language).part(text)


def _sorted(patterns: Mapping[str, str]) -> list[_Pattern]:
    """Return patterns, those with the most letters first, because they fit most exactly."""
    divided = [_Pattern(tuple(_PLACE.split(english)[::3]), text) for english, text in patterns.items()]
    exact = [one for one in divided if one.fixed[0] or one.letters >= _LEAST_LETTERS]
    return sorted(exact, key=lambda one: -one.letters)


@cache
def _catalogue(language: str) -> _Catalogue:
    return _Catalogue(language)
