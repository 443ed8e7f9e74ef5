"""Writes what a question sounds like in the characters of an index: pinyin, and wrong characters of the same sound.

The characters are those whose pairs are frequent in the passages that may be found, and in what customers write (`frequent.py`): the most
likely sequence of a Markov chain (Viterbi 1967). Knows nothing of the files of an index and of how passages are ranked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vertune.retrieval import frequent, pinyin
from vertune.retrieval.pinyin import Heard, Syllable

Counts = Callable[[Sequence[str]], Mapping[str, int]]
"""A function that returns how often terms are in the passages that may be found."""
MOST = 60
"""Number of syllables of a question that are written anew, at most."""
_CANDIDATES = 16
"""Number of characters of a sound that are tried, the most frequent ones."""
_UNKNOWN, _RARE, _WRITTEN = -4.0, -0.1, 5.0
"""What a pair counts that no passage has, and each more frequent character with the sound; and what speaks for the written character."""
_FREQUENT = 0.5
"""How much a pair in what customers write counts beside one in a passage."""
_SUPPORTED = 0.5
"""Share of the syllables of a word in Latin letters that must be in known pairs."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """The best way to a character of a syllable."""

    score: float
    before: tuple[int, str] | None


def rewritten(heard: Heard, doubtful: Sequence[int], alike: Callable[[str], Sequence[str]], counts: Counts) -> str:
    """Return the text of `heard` with the doubtful syllables, given by their places, in characters of the index where it has such pairs.

    `alike` returns characters of the index with a sound, the most frequent first.
    """
    if not doubtful:
        return heard.text
    asked = set(doubtful[:MOST])
    options = [_options(one, place in asked, alike) for place, one in enumerate(heard.syllables)]
    pairs = [
        (first + second) for i, j in heard.pairs if asked & {i, j} for first in options[i] for second in options[j] if first and second
    ]
    known = counts(list(dict.fromkeys(pairs)))
    before: dict[int, list[int]] = {}
    for i, j in heard.pairs:
        before.setdefault(j, []).append(i)
    best: list[dict[str, _Choice]] = []
    for place, one in enumerate(heard.syllables):
        own = [_WRITTEN if option == one.character else rank * _RARE for rank, option in enumerate(options[place])]
        ways = zip(options[place], own, strict=True)
        best.append({option: _best_way(option, score, before.get(place, ()), best, known) for option, score in ways})
    chosen = _followed(heard, best)
    return _replaced(heard, {place: character for place, character in chosen.items() if place in asked}, chosen, known)


def _options(one: Syllable, is_doubtful: bool, alike: Callable[[str], Sequence[str]]) -> list[str]:
    """Return the characters that a syllable may be; an empty text if it stays in Latin letters."""
    written = [one.character] if one.character else []
    if is_doubtful:
        written += [character for sound in one.sounds for character in alike(sound)[:_CANDIDATES]]
        written += [character for sound in one.sounds for character in frequent.characters().get(sound, "")[:_CANDIDATES]]
    return list(dict.fromkeys(written)) or [""]


def _best_way(option: str, own: float, before: Sequence[int], best: Sequence[Mapping[str, _Choice]], known: Mapping[str, int]) -> _Choice:
    """Return the best way to an option of a syllable with a score of its own, from those of the syllables before it."""
    ways = [_Choice(way.score + _likely(other, option, known), (place, other)) for place in before for other, way in best[place].items()]
    found = max(ways, key=lambda way: way.score, default=_Choice(0.0, None))
    return _Choice(found.score + own, found.before)


def _likely(first: str, second: str, known: Mapping[str, int]) -> float:
    if not first or not second:
        return _UNKNOWN
    count = known.get(first + second, 0) + _FREQUENT * frequent.pairs().get(first + second, 0)
    return math.log(count) if count else _UNKNOWN


def _followed(heard: Heard, best: Sequence[Mapping[str, _Choice]]) -> dict[int, str]:
    """Return the characters on the best way through each run of syllables, by their places."""
    last = {i for i, _ in heard.pairs}
    ends: dict[int, tuple[int, str]] = {}
    for place, ways in enumerate(best):
        if place in last:
            continue
        option = max(ways, key=lambda one: ways[one].score)
        run = heard.syllables[place].run
        if run not in ends or best[ends[run][0]][ends[run][1]].score < ways[option].score:
            ends[run] = (place, option)
    chosen: dict[int, str] = {}
    for end in ends.values():
        step: tuple[int, str] | None = end
        while step is not None:
            chosen[step[0]] = step[1]
            step = best[step[0]][step[1]].before
    return chosen


def _replaced(heard: Heard, wanted: Mapping[int, str], chosen: Mapping[int, str], known: Mapping[str, int]) -> str:
    """Return the text with characters in place of syllables; a word in Latin letters is replaced as a whole or not at all."""
    together = ((i, j, chosen.get(i, "") + chosen.get(j, "\0")) for i, j in heard.pairs)
    supported = {place for i, j, pair in together if pair in known or pair in frequent.pairs() for place in (i, j)}
    text = heard.text
    words: dict[int, list[bool]] = {}
    for place, character in wanted.items():
        words.setdefault(heard.syllables[place].word, []).append(bool(character) and place in supported)
    kept = {word for word, those in words.items() if sum(those) < _SUPPORTED * len(those)}
    kept |= {heard.syllables[place].word for place, character in wanted.items() if not character}
    parts: list[str] = []
    at = 0
    for place, character in sorted(wanted.items(), key=lambda one: heard.syllables[one[0]].span):
        one = heard.syllables[place]
        if one.word not in kept and character != one.character:
            gap = text[at : one.span[0]]
            parts += ["" if parts and pinyin.is_gap(gap) and at else gap, character]
            at = one.span[1]
    return "".join([*parts, text[at:]])
