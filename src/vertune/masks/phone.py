"""Finds telephone numbers that the library phonenumbers calls valid: international ones, and national ones of some countries.

A national number must be written as one (`(212) 555-0142`, `010-6552 9988`, a Chinese mobile number), or words such as `call` must
announce it, because most rows of digits are something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import ClassVar

from pydantic import Field

from vertune.core.errors import MissingExtra
from vertune.core.kinds import Mask
from vertune.masking.checks import digits_of, is_announced, of_a_thing

_CANDIDATE = re.compile(r"(?<![A-Za-z0-9_.,/$€£¥-])(?:\+|00 ?)?\(?\d(?:[ ().-]{0,3}\d){5,16}(?![A-Za-z0-9_%])(?![.,:]\d)")
_INTERNATIONAL = re.compile(r"\+|00")
_WRITTEN = {
    "CN": re.compile(r"1[3-9]\d([ -]?)\d{4}\1\d{4}|\(?0(?:10|2\d|[3-9]\d\d)\)?[ -]?\d{4}[ -]?\d{3,4}"),
    "US": re.compile(r"(?:1[ .-])?\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}"),
    "CA": re.compile(r"(?:1[ .-])?\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}"),
    "GB": re.compile(r"07\d{3}[ -]?\d{3}[ -]?\d{3}|\(?0\d{2,4}\)?[ -]\d{3,4}[ -]?\d{3,4}"),
}
"""How national numbers of a country are written that need no word before them."""
_ELSEWHERE = re.compile(r"\(?0\d{1,5}\)?[ /-]\d[\d -]{4,10}")
"""The same for all other countries."""
_ANNOUNCED = re.compile(
    r"(?:\btel\b|telephone|phone|mobile|\bcell|call|fax|whatsapp|reach|\bring\b|\bsms\b|电话|手机|座机|来电|致电|拨打|打给|传真|联系方式|号码)[^\d]{0,24}$",
    re.IGNORECASE | re.ASCII,
)
_DATE = re.compile(r"\d{4}[-. ]\d{1,2}[-. ]\d{1,2}|\d{1,2}[-. ]\d{1,2}[-. ]\d{4}")
_PACKAGE = "phonenumbers"


class Phone(Mask):
    """Mask of telephone numbers; the field below is its option."""

    label: ClassVar[str] = "PHONE"
    precedence: ClassVar[int | None] = 80
    digits: ClassVar[bool] = True

    countries: tuple[str, ...] = Field(default=("CN", "US", "GB"), max_length=50)
    """Countries (ISO 3166) whose numbers are found without the country's code."""

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of telephone numbers."""
        for match in _CANDIDATE.finditer(text):
            number = match.group().strip()
            start = match.start()
            if not _DATE.fullmatch(number) and self._is_phone(number, text, start):
                yield start, start + len(number)

    def _is_phone(self, number: str, text: str, start: int) -> bool:
        if number.count("(") != number.count(")"):
            return False
        if _INTERNATIONAL.match(number):
            return _is_valid("+" + digits_of(number).removeprefix("00"), None)
        if of_a_thing(text, start):
            return False
        announced = is_announced(text, start, _ANNOUNCED)
        return any(
            (announced or _WRITTEN.get(country, _ELSEWHERE).fullmatch(number)) and _is_valid(number, country) for country in self.countries
        )

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with telephone numbers."""
        return (
            ("Ring +44 20 7946 0958 after six", "+44 20 7946 0958"),
            ("我的手机是１３８ １２３４ ５６７８。", "１３８ １２３４ ５６７８"),
            ("Call (212) 736-5000, please", "(212) 736-5000"),
        )


@lru_cache(maxsize=4096)
def _is_valid(number: str, country: str | None) -> bool:
    library = _library()
    try:
        return bool(library.is_valid_number(library.parse(number, country)))
    except library.NumberParseException:
        return False


def _library() -> ModuleType:
    try:
        import phonenumbers
    except ImportError as error:
        raise MissingExtra("Finding telephone numbers", "mask", _PACKAGE) from error
    return phonenumbers
