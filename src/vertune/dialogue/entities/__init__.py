"""Typed details in texts, English and Chinese: where they are and their normal form; knows nothing of flows that need them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from vertune.dialogue.characters import plain
from vertune.dialogue.entities.choices import choices, yes_no
from vertune.dialogue.entities.codes import card_endings, mails, order_numbers, phones
from vertune.dialogue.entities.dates import dates
from vertune.dialogue.entities.found import Found, Options, longest
from vertune.dialogue.entities.money import amounts, plain_numbers
from vertune.dialogue.entities.times import times

__all__ = ["KINDS", "Found", "Options", "find", "same", "show"]

_NO_OPTIONS = Options()


def _texts(text: str, _: float, __: Options) -> Iterator[Found]:
    """Yield the complete text without white space around it."""
    stripped = text.strip()
    if stripped:
        start = text.index(stripped)
        yield Found(start, start + len(stripped), stripped, stripped)


KINDS: Mapping[str, Callable[[str, float, Options], Iterator[Found]]] = {
    "date": dates, "time": times, "amount": amounts, "number": plain_numbers, "card_ending": card_endings, "order_number": order_numbers,
    "phone": phones, "mail": mails, "yes_no": yes_no, "choice": choices, "text": _texts,
}  # fmt: skip
"""What finds the details of each kind in a plain text."""


def find(kind: str, text: str, at: float, options: Options = _NO_OPTIONS) -> list[Found]:
    """Return the details of a kind in a text in the order of their places, none of which overlaps another.

    `at` is the time of the message in seconds since 1970, from which `tomorrow` counts. Raises KeyError for a kind that isn't in `KINDS`.
    """
    found = longest(list(KINDS[kind](plain(text), at, options)))
    whole = kind in _AS_WRITTEN
    return [one._replace(raw=text[one.start : one.end], value=text[one.start : one.end] if whole else one.value) for one in found]


_AS_WRITTEN = frozenset({"text"})
"""Kinds whose value is what was written, and not its plain form."""
_DAY, _AMOUNT = re.compile(r"\d{4}-\d\d-\d\d"), re.compile(r"(\d+)\.(\d\d)(?: ([A-Z]{3}))?")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_CURRENCY_SIGNS = {"USD": "$", "GBP": "£", "EUR": "€", "CNY": "¥", "HKD": "HK$"}


def show(kind: str, value: Any, language: str | None) -> str:
    """Return a value as people read it: `3 May 2026` or `2026年5月3日`, `€50`, `¥3.50`, `yes` or `是`."""
    if kind == "date" and isinstance(value, str) and _DAY.fullmatch(value):
        day = date.fromisoformat(value)
        return f"{day.year}年{day.month}月{day.day}日" if language == "zh" else f"{day.day} {day:%B %Y}"
    if kind == "amount" and (match := _AMOUNT.fullmatch(str(value))):
        number = f"{int(match[1]):,}" + ("" if match[2] == "00" else f".{match[2]}")
        sign = _CURRENCY_SIGNS.get(match[3] or "")
        return f"{sign}{number}" if sign else f"{number} {match[3]}" if match[3] else number
    if isinstance(value, bool):
        return {("zh", True): "是", ("zh", False): "否"}.get((language or "", value), "yes" if value else "no")
    return str(value)


def same(expected: Any, value: Any) -> bool:
    """Return whether a value is the expected one, written in any of its forms: 250 is `250.00 USD`, `sh12` is `SH12`."""
    if isinstance(expected, bool) or isinstance(value, bool):
        return expected is value
    one, other = (_AMOUNT.fullmatch(str(side)) or _NUMBER.fullmatch(str(side)) for side in (expected, value))
    if one and other and isinstance(expected, int | float) != isinstance(value, int | float):
        return float(str(expected).split()[0]) == float(str(value).split()[0])
    return str(expected).casefold() == str(value).casefold()
