"""Edits of a text that should not change what a model answers: typing errors, case, names, numbers, punctuation, spaces.

They are made for English and Chinese, and for other languages as far as these are written alike. The same text is always edited in the
same way. Placeholders such as `<PHONE_1>` stay as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from random import Random
from typing import TypeVar

from vertune.core.behaviour import EditName
from vertune.masking.standard import standard_masker

_Item = TypeVar("_Item")

_PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*_\d+>")
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]{4,}")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_WORDS_PER_TYPO = 6
_CHARACTERS_PER_TYPO = 12
_CONFUSED = dict(zip("的得地在再做作帐账她他它那哪己已像象以已的很", "得的的再在作做账帐他她他哪那已己象像已以得狠", strict=True))
"""Chinese characters, each with one that people type in its place because it sounds alike."""
_NAMES = ("Anna Miller", "Wei Chen", "Fatima Khan", "José García", "Oluwaseun Adebayo", "Ivan Petrov", "Priya Sharma", "Liam O'Connor")
_CHINESE_NAMES = ("王芳", "李伟", "张秀英", "陈杰", "欧阳雪", "赵敏", "买买提", "刘洋")
_LABEL = "NAME"
"""The label of the mask that finds names of people."""
_DIGITS = re.compile(r"[0-9０-９]+")
_CHINESE_NUMBER = re.compile(r"[一二三四五六七八九十百千万两]{2,}")
_NUMERALS = "一二三四五六七八九"
_FINAL = re.compile(r"[.!?。！？…~～]+\s*$")
_MARKS = re.compile(r"(?<!\d)[.,;:!?](?!\d)|[，。；：！？、…~～]")
_HALF_WIDTH = str.maketrans("，。；：！？（）", ",.;:!?()")


def variants(text: str, edit: EditName) -> list[str]:
    """Return the different texts that an edit makes of a text; empty if it changes nothing, such as names in a text without names."""
    seed = int.from_bytes(hashlib.blake2b(f"{edit} {text}".encode(), digest_size=8).digest(), "big")
    found = _EDITS[edit](text, Random(seed))  # noqa: S311 - not for secrets
    return list(dict.fromkeys(one for one in found if one != text and one.strip()))


def _typos(text: str, random: Random) -> list[str]:
    """Swap two letters within some words; in Chinese, write some characters as ones that sound alike, or swap two."""
    letters = list(text)
    words = [match.span() for match in _WORD.finditer(text) if not _is_kept(text, match.start())]
    for start, end in _some(words, max(1, len(words) // _WORDS_PER_TYPO), random):
        places = [place for place in range(start + 1, end - 2) if letters[place] != letters[place + 1]]
        if places:
            place = random.choice(places)
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
    characters = [match.start() for match in _HAN.finditer(text)]
    if len(characters) > 3:
        confused = [place for place in characters if text[place] in _CONFUSED]
        count = max(1, len(characters) // _CHARACTERS_PER_TYPO)
        for place in _some(confused, count, random):
            letters[place] = _CONFUSED[text[place]]
        pairs = [place for place in characters if place + 1 in characters and letters[place] != letters[place + 1]]
        if not confused and pairs:
            place = random.choice(pairs)
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return ["".join(letters)]


def _case(text: str, random: Random) -> list[str]:
    """Write all letters small, and all large, except in placeholders."""
    return [_outside(text, str.lower), _outside(text, str.upper)]


def _names(text: str, random: Random) -> list[str]:
    """Replace the names of people that the standard masks find by others of the same script."""
    places = [place for place in standard_masker().record([text]).places[0] if place.label == _LABEL]
    if not places:
        return []
    made = []
    for shift in random.sample(range(len(_NAMES)), 2):
        parts, end, chosen = [], 0, dict[str, str]()
        for place in places:
            name = text[place.start : place.stop]
            pool = _CHINESE_NAMES if _HAN.search(name) else _NAMES
            full = pool[(shift + len(chosen)) % len(pool)]
            new = chosen.setdefault(name, full if " " in name or _HAN.search(name) else full.split()[-1])
            parts += [text[end : place.start], new]
            end = place.stop
        made.append("".join([*parts, text[end:]]))
    return made


def _numbers(text: str, random: Random) -> list[str]:
    """Replace numbers by others with as many digits; the first digit stays different from 0, and 0 alone stays."""

    def other(match: re.Match[str]) -> str:
        digits = match.group()
        if _is_kept(text, match.start()):
            return digits
        zero = ord("0") if digits[0] <= "9" else ord("０")
        return "".join(chr(zero + random.randrange(1, 10)) if ord(one) != zero else one for one in digits)

    def chinese(match: re.Match[str]) -> str:
        return "".join(random.choice(_NUMERALS) if one in _NUMERALS else one for one in match.group())

    return [_CHINESE_NUMBER.sub(chinese, _DIGITS.sub(other, text))]


def _punctuation(text: str, random: Random) -> list[str]:
    """Leave out the final mark or add one, leave out all marks, and write Chinese marks as Latin ones."""
    mark = "。" if _HAN.search(text) else "."
    final = _FINAL.sub("", text) if _FINAL.search(text) else text.rstrip() + mark
    return [final, _MARKS.sub("", text), text.translate(_HALF_WIDTH)]


def _spaces(text: str, random: Random) -> list[str]:
    """Double each space, and put spaces around the text."""
    return [f"  {text} ", re.sub(r"(?<=\S) (?=\S)", "  ", text)]


_EDITS: dict[EditName, Callable[[str, Random], list[str]]] = {
    "typos": _typos, "case": _case, "names": _names, "numbers": _numbers, "punctuation": _punctuation, "spaces": _spaces,
}  # fmt: skip


def _some(items: list[_Item], count: int, random: Random) -> list[_Item]:
    """Return `count` of the items at random, or all if there are fewer."""
    return random.sample(items, min(count, len(items)))


def _is_kept(text: str, place: int) -> bool:
    """Return whether a place is inside a placeholder."""
    return any(match.start() <= place < match.end() for match in _PLACEHOLDER.finditer(text))


def _outside(text: str, change: Callable[[str], str]) -> str:
    """Apply a change to a text, except to its placeholders."""
    parts, end = [], 0
    for match in _PLACEHOLDER.finditer(text):
        parts += [change(text[end : match.start()]), match.group()]
        end = match.end()
    return "".join([*parts, change(text[end:])])
