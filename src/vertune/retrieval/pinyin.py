"""Reads texts as syllables: how Chinese characters sound, and where Latin letters are pinyin; knows nothing of indexes.

Syllables have no tones. Sounds that many speakers and keyboards confuse are one syllable here: zh and z, ch and c, sh and s, and a final n
with or without a g. The readings are those of pypinyin, which looks at the words around a character.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, pairwise
from typing import Any

from vertune.core.errors import MissingExtra

_HAN_RUN = re.compile("[\u3400-\u9fff]+")
_PIECE = re.compile("[\u3400-\u9fff]+|[a-z]+")
_BETWEEN = re.compile("[\\s'’]*")
"""What may stand between two syllables of one run, because people put spaces between the syllables or words of pinyin."""
_ACCENTED = re.compile("[\u00c0-\u024f][\u0300-\u036f]*|[a-z][\u0300-\u036f]+")
_FIRST_HAN = "\u3400"
_LONGEST = 6
"""Letters of the longest syllable, such as zhuang."""
_SHARE, _LEAST = 0.1, 3
"""Share of the phrases with a character, and number of phrases, from which a reading of it is a frequent one."""
_REMEMBERED = 256
"""Runs of characters whose readings are kept, because a question is read several times until it is answered."""
_VOWELS = frozenset({"a", "e", "o"})
"""The syllables of one letter."""


@dataclass(frozen=True, slots=True)
class Syllable:
    """A syllable that a question may have between two of its places."""

    start: int
    end: int
    sounds: tuple[str, ...]
    """What it may sound like, the most likely first; several where a character has several readings."""
    character: str | None
    """The Chinese character; None if it is written in Latin letters."""
    span: tuple[int, int]
    """Where it is in the text."""
    run: int
    """The number of the run of syllables, in which nothing else is in between."""
    word: int
    """Where the character, or the words in Latin letters of which it is a part, begin in the text."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a question sounds like."""

    text: str
    """The question in normal form, without accents on Latin letters."""
    syllables: list[Syllable]
    pairs: list[tuple[int, int]]
    """The places in `syllables` of those that may follow one another."""


def sounds(plain: str) -> list[str]:
    """Return the syllables of the Chinese characters of a text in normal form, and their pairs, such as `yin`, `han`, `yin han` for 银行.

    Of a character with several frequent readings, all of them are followed, because words around it don't always tell: 还款.
    """
    found: list[str] = []
    for run in _HAN_RUN.findall(plain):
        readings = _readings(run)
        found += chain.from_iterable(readings)
        found += (f"{one} {other}" for first, second in pairwise(readings) for one in first for other in second)
    return found


def syllables(plain: str) -> list[str]:
    """Return one syllable for each Chinese character of a text in normal form."""
    return [syllable for run in _HAN_RUN.findall(plain) for syllable in _read(run)]


def heard(plain: str) -> Heard:
    """Return the syllables of a question in normal form, whose Latin letters may be pinyin.

    A word in Latin letters is read as pinyin if it can be divided into syllables completely, into as few as possible. Where several
    divisions have as few, all of them are followed.
    """
    found = Heard(_unaccented(plain), [], [])
    for run in _runs(found.text):
        first = len(found.syllables)
        found.syllables.extend(run)
        following: dict[int, list[int]] = {}
        for place, one in enumerate(run, first):
            following.setdefault(one.start, []).append(place)
        found.pairs.extend((place, other) for place, one in enumerate(run, first) for other in following.get(one.end, ()))
    return found


def is_gap(text: str) -> bool:
    """Return whether a text is nothing or what may stand between two syllables."""
    return _BETWEEN.fullmatch(text) is not None


@cache
def characters() -> dict[str, str]:
    """Return all characters with each syllable, by the syllable."""
    found: dict[str, list[str]] = {}
    for code, readings in _table().items():
        if 0x4E00 <= code < 0xA000:
            character = chr(code)
            sounds = dict.fromkeys((_alike(_toneless(readings.split(",", 1)[0])), *_frequent().get(character, ())))
            for sound in sounds:
                found.setdefault(sound, []).append(character)
    return {sound: "".join(several) for sound, several in found.items()}


def is_pinyin(word: str) -> bool:
    """Return whether a word in lower case can be divided into syllables of pinyin, at least two."""
    edges = _divided(word)
    return bool(edges) and edges[0][:2] != (0, len(word))


def is_spoken(word: str) -> bool:
    """Return whether a word in lower case is no word in Latin letters, or one that can be divided into syllables of pinyin."""
    return not (word.isascii() and word.isalpha()) or bool(_divided(word))


def _runs(plain: str) -> Iterator[list[Syllable]]:
    """Yield the runs of syllables without anything else in between but spaces and apostrophes."""
    run: list[Syllable] = []
    last = number = 0
    for piece in _PIECE.finditer(plain):
        start, end = piece.span()
        if run and not _BETWEEN.fullmatch(plain, last, start):
            yield run
            run, number = [], number + 1
        word = run[-1].word if run and not run[-1].character and piece[0] < _FIRST_HAN else start
        edges = _possible(piece[0], (start, word), run[-1].end if run else 0, number)
        if not edges and run:
            yield run
            run, number = [], number + 1
        run += edges
        last = end
    if run:
        yield run


def _possible(piece: str, begins: tuple[int, int], place: int, run: int) -> list[Syllable]:
    """Return the syllables that a run of characters or a word in Latin letters may have, the first one at `place`; none for other words.

    `begins` says where the piece begins in the text, and where the words in Latin letters begin to which it belongs.
    """
    at, word = begins
    if "a" <= piece[0] <= "z":
        return [
            Syllable(place + start, place + end, (_alike(syllable),), None, span=(at + start, at + end), run=run, word=word)
            for start, end, syllable in _divided(piece)
        ]
    return [
        Syllable(place + number, place + number + 1, heard, character, span=(at + number, at + number + 1), run=run, word=at + number)
        for number, (character, heard) in enumerate(zip(piece, _readings(piece), strict=True))
    ]


@lru_cache(maxsize=1 << 12)
def _divided(word: str) -> tuple[tuple[int, int, str], ...]:
    """Return start, end and letters of each syllable that belongs to a division of a word into the fewest syllables, by their ends."""
    known, size = _known(), len(word)
    if size > 200:
        return ()
    spans = [
        (start, end)
        for end in range(1, size + 1)
        for start in range(max(0, end - _LONGEST), end)
        if word[start:end] in known
    ]  # fmt: skip
    never = size + 1
    before = [0] + [never] * size
    for start, end in spans:  # ends ascend, so what leads to a start is final
        before[end] = min(before[end], before[start] + 1)
    after = [never] * size + [0]
    for start, end in reversed(spans):
        after[start] = min(after[start], after[end] + 1)
    if before[size] >= never:
        return ()
    return tuple((start, end, word[start:end]) for start, end in spans if before[start] + 1 + after[end] == before[size])


def _alike(syllable: str) -> str:
    """Return the syllable that stands for all that are easily confused with this one."""
    for initial in ("zh", "ch", "sh"):
        if syllable.startswith(initial):
            syllable = initial[0] + syllable[2:]
    return syllable[:-1] if syllable.endswith("ng") and len(syllable) > 2 else syllable


def _read(run: str) -> list[str]:
    """Return one syllable for each character of a run; a character that pypinyin doesn't know is a syllable of its own."""
    return [_alike(syllable) for syllable in _pypinyin().lazy_pinyin(run, errors=list)]


@lru_cache(maxsize=_REMEMBERED)
def _readings(run: str) -> tuple[tuple[str, ...], ...]:
    """Return for each character of a run its syllable among the words around it, then those of its other frequent readings."""
    frequent = _frequent()
    return tuple(
        (syllable,) if character not in frequent else tuple(dict.fromkeys((syllable, *frequent[character])))
        for character, syllable in zip(run, _read(run), strict=True)
    )


@cache
def _frequent() -> dict[str, tuple[str, ...]]:
    """Return the syllables of characters, about a hundred, of which several are frequent in the phrases that pypinyin knows."""
    from pypinyin.constants import PHRASES_DICT

    counts: dict[str, Counter[str]] = {}
    for phrase, readings in PHRASES_DICT.items():
        for character, (reading, *_) in zip(phrase, readings, strict=False):
            counts.setdefault(character, Counter())[_alike(_toneless(reading))] += 1
    found = {}
    for character, counted in counts.items():
        least = max(_LEAST, _SHARE * sum(counted.values()))
        found[character] = tuple(reading for reading, count in counted.most_common() if count >= least)
    return {character: readings for character, readings in found.items() if len(readings) > 1}


@cache
def _known() -> frozenset[str]:
    """Return all syllables of Mandarin, without tones."""
    found = {_toneless(one) for readings in _table().values() for one in readings.split(",")}
    return frozenset(one for one in found if one in _VOWELS or (len(one) > 1 and any(vowel in one for vowel in "aeiouv") and one != "ng"))


@lru_cache(maxsize=1 << 12)
def _toneless(reading: str) -> str:
    """Return a reading such as `lǜ` without its tone and in ASCII: `lv`, as it is typed."""
    letters = unicodedata.normalize("NFD", reading).replace("u\u0308", "v")
    return "".join(letter for letter in letters if letter.isascii())


def _unaccented(plain: str) -> str:
    """Return the text with accented Latin letters as they are typed, `xìn` as `xin` and `nǚ` as `nv`, if there are any."""
    if not _ACCENTED.search(plain):
        return plain
    return _ACCENTED.sub(lambda match: _toneless(match[0]), plain)


def _table() -> dict[int, str]:
    from pypinyin.constants import PINYIN_DICT

    _pypinyin()
    return PINYIN_DICT


@cache
def _pypinyin() -> Any:
    try:
        import pypinyin
    except ImportError as error:
        raise MissingExtra("Searching Chinese texts by their sound", "search", "pypinyin") from error
    return pypinyin
