"""Reads numbers in digits and in English and Chinese words; knows nothing of what they count.

English words follow `hundreds [and] tens-ones` with thousand, lakh, million, crore and billion; a row of single digits, such as `one two
three`, is no number. `half a million`, `two and a half`, `1.5 million` and 1,50,000 are numbers too. In Chinese, a digit after a unit
without 零 counts the next smaller unit: 三千五 is 3,500.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

_ONES_IN_ORDER = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_ONES = {word: number for number, word in enumerate(_ONES_IN_ORDER)}
_TENS = dict(zip(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), range(20, 100, 10), strict=True))
_TENS |= {"fourty": 40, "ninty": 90}  # as they are often misspelt
_SCALES = {
    "thousand": 1_000, "lakh": 100_000, "lac": 100_000, "lakhs": 100_000, "million": 1_000_000, "crore": 10_000_000, "crores": 10_000_000,
    "billion": 1_000_000_000,
}  # fmt: skip
_WORD = "|".join([*_ONES, *_TENS, "hundred", *_SCALES])
_ENGLISH = re.compile(rf"(?<![a-z0-9])(?:(?:an?|{_WORD})(?:(?:\s+and\s+|[\s-]+)(?:{_WORD}))*)(?![a-z0-9])")
_DIGITS = {character: number for number, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "俩": 2}
_DIGITS |= dict(zip("壹贰叁肆伍陆柒捌玖", range(1, 10), strict=True))
_SPOKEN = _DIGITS | {"幺": 1}
_TWICE = re.compile(r"(?<![a-z])(double|triple)\s+([a-z]+|\d)")
_UNITS = {"十": 10, "百": 100, "千": 1_000, "拾": 10, "佰": 100, "仟": 1_000}
_LARGE = {"万": 10_000, "亿": 100_000_000}
_SHORTER = {"廿": "二十", "卅": "三十"}
_HAN = "".join([*_DIGITS, *_UNITS, *_LARGE, *_SHORTER])
_CHINESE = re.compile(rf"\d+(?:\.\d+)?[{''.join([*_UNITS, *_LARGE])}][{_HAN}\d]*|[{_HAN}]+")
_WRITTEN = re.compile(
    r"(?<![\d.])(?<!\d,)(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d\d)+,\d{3}|\d{1,3}(?: \d{3})+(?! ?\d)|\d+)(?:\.\d+)?(?!\d)(?![.,]\d)"
    r"|(?<![\w.,])\.\d{1,2}(?![\d.])"
)
_EUROPEAN = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d{1,2}(?![\d.,])")
"""A number with points between thousands and a decimal comma, which is written in no other way: 1.200,50."""
_SHORT = re.compile(r"(?<![\d.a-z])(?<!\d,)(\d+(?:\.\d+)?)\s?([kmw])(?![a-z0-9])")
_SHORT_SCALES = {"k": 1_000, "m": 1_000_000, "w": 10_000}
_THOUSANDS = re.compile(r"\s?k(?![a-z0-9])")
_SCALE = "|".join(["hundred", *_SCALES])
_SCALED = re.compile(rf"(?<![\d.a-z])(?<!\d,)(\d+(?:\.\d+)?)[\s-]?({_SCALE})(?![a-z0-9])")
_HALVED = re.compile(
    rf"(?<![a-z0-9])(?:(?P<part>half|(?:a\s+)?quarter|(?:a\s+)?couple)(?:\s+of)?(?:\s+an?)?\s+(?P<scale>{_SCALE})"
    rf"|(?P<number>{_WORD}|an?|\d+)\s+and\s+a\s+half(?:\s+(?P<after>{_SCALE}))?)(?![a-z0-9])"
)
_PARTS = {"half": Decimal("0.5"), "quarter": Decimal("0.25"), "couple": Decimal(2)}
_MOST_DIGITS = 15
"""Largest number of digits of a number; more are a code."""


class Number(NamedTuple):
    """A number in a text: the places where it begins and ends, and its value."""

    start: int
    end: int
    value: Decimal


def numbers(text: str) -> Iterator[Number]:
    """Yield the numbers in a plain text in the order of their places; none overlaps another."""
    found = [*_written(text), *_english(text), *_halved(text), *_chinese(text)]
    end = 0
    for number in sorted(found, key=lambda number: (number.start, -number.end)):
        if number.start >= end:
            yield number
            end = number.end


def english(words: str) -> int | None:
    """Return the number that English words say; None if they are not one number."""
    total, rest = 0, [word for word in re.split(r"[\s-]+", words) if word != "and"]
    limit = 10**12
    while rest:
        number, rest = _below_thousand(rest)
        if number is None:
            return None
        scale = _SCALES.get(rest[0], 0) if rest else 1
        if not scale or scale >= limit:
            return None
        total, limit, rest = total + number * scale, scale, rest[1:]
    return total if words else None


def chinese(characters: str) -> Decimal | None:
    """Return the number that Chinese characters say, with Arabic digits in front or not; None if they are not one number."""
    total = section = Decimal(0)
    digit: Decimal | None = None
    unit, after_zero = 0, False
    for short, longer in _SHORTER.items():
        characters = characters.replace(short, longer)
    for written in re.findall(r"\d+(?:\.\d+)?|.", characters):
        if written in _LARGE:
            section = (section + (digit or 0)) * _LARGE[written] if section or digit else Decimal(0)
            if not section:
                return None
            total, section, digit, unit, after_zero = total + section, Decimal(0), None, _LARGE[written], False
        elif written in _UNITS:
            if digit is None and (_UNITS[written] != 10 or (unit and not after_zero)):
                return None  # 百 alone; 十 alone is ten, but not after another unit
            section, digit, unit, after_zero = section + (1 if digit is None else digit) * _UNITS[written], None, _UNITS[written], False
        elif digit is not None and digit != 0:
            return None  # two digits without a unit are a code
        else:
            after_zero = after_zero or written in "零〇"
            digit = Decimal(_DIGITS.get(written, written))
    if digit is not None:
        section += digit * (unit // 10 if unit > 10 and not after_zero and digit < 10 else 1)
    return total + section


def digits_of(text: str) -> str:
    """Return the digits that a text contains, where they are written as digits, as English words or as Chinese characters.

    `double four` is 44, and 幺 is how a 1 is read aloud.
    """
    text = _TWICE.sub(lambda match: " ".join([match[2]] * (2 if match[1] == "double" else 3)), text)
    tokens = re.findall(rf"\d|[{''.join(_SPOKEN)}]|(?<![a-z])(?:{'|'.join(_ONES_IN_ORDER[:10])}|oh)(?![a-z])", text)
    words = {**{word: number for word, number in _ONES.items() if number < 10}, "oh": 0}
    return "".join(token if token.isdigit() and token.isascii() else str(_SPOKEN.get(token, words.get(token, ""))) for token in tokens)


def _below_thousand(words: list[str]) -> tuple[int | None, list[str]]:
    """Return the number below a thousand with which words begin, and the words after it."""
    number, rest = _below_hundred(words)
    if number is None and words and words[0] in {"a", "an"} and words[1:] and words[1] in {"hundred", *_SCALES}:
        number, rest = 1, words[1:]
    if rest and rest[0] == "hundred" and number and number < 100:
        more, after = _below_hundred(rest[1:])
        return (number * 100, rest[1:]) if more is None else (number * 100 + more, after)
    return number, rest


def _below_hundred(words: list[str]) -> tuple[int | None, list[str]]:
    if not words:
        return None, words
    if words[0] in _ONES:
        return _ONES[words[0]], words[1:]
    if words[0] not in _TENS:
        return None, words
    if words[1:] and 0 < _ONES.get(words[1], 0) < 10:
        return _TENS[words[0]] + _ONES[words[1]], words[2:]
    return _TENS[words[0]], words[1:]


def _written(text: str) -> Iterator[Number]:
    for match in _WRITTEN.finditer(text):
        if sum(map(str.isdigit, match.group())) <= _MOST_DIGITS:
            yield Number(match.start(), match.end(), Decimal(match.group().replace(",", "").replace(" ", "")))
    for match in _EUROPEAN.finditer(text):
        yield Number(match.start(), match.end(), Decimal(match.group().replace(".", "").replace(",", ".")))
    for match in _SHORT.finditer(text):
        yield Number(match.start(), match.end(), Decimal(match[1]) * _SHORT_SCALES[match[2]])
    for match in _SCALED.finditer(text):
        yield Number(match.start(), match.end(), Decimal(match[1]) * _scale(match[2]))


def _halved(text: str) -> Iterator[Number]:
    """Yield numbers with a part: `half a million`, `a couple hundred`, `two and a half thousand`."""
    for match in _HALVED.finditer(text):
        if match["part"]:
            value = _PARTS[match["part"].split()[-1]] * _scale(match["scale"])
        else:
            word = match["number"]
            whole = int(word) if word.isdigit() else 1 if word in {"a", "an"} else english(word)
            if whole is None:
                continue
            value = (whole + Decimal("0.5")) * (_scale(match["after"]) if match["after"] else 1)
        yield Number(match.start(), match.end(), value)


def _scale(word: str) -> int:
    return _SCALES.get(word, 100)


def _english(text: str) -> Iterator[Number]:
    for match in _ENGLISH.finditer(text):
        value = english(match.group())
        if value is not None:
            thousands = _THOUSANDS.match(text, match.end())
            yield Number(match.start(), thousands.end() if thousands else match.end(), Decimal(value) * (1_000 if thousands else 1))


def _chinese(text: str) -> Iterator[Number]:
    for match in _CHINESE.finditer(text):
        value = chinese(match.group()) if len(match.group()) <= 30 else None
        if value is not None:
            yield Number(match.start(), match.end(), value)
