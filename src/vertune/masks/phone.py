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

_CANDIDATE = re.compile(
    r"(?=[+(\d])(?:(?<![A-Za-z0-9_.,/$€£¥-])|(?<=[Tt][Ee][Ll])|(?<=\d{8}/))(?:\(?\+ ?|\(?00 ?)?\(?(?:\d{2,5}\)? ?/ ?(?=\d{3}))?"
    r"\d(?:[ ().—-]{0,3}\d){5,16}(?![A-Za-z0-9_%])(?![.,:]\d)"
)
_INTERNATIONAL = re.compile(r"\(?(?:\+|00)")
_SPACE = re.compile(r"[.-]?[ \u3000]+")
_LONGEST, _SHORTEST, _LOOK = 11, 7, 8
"""Number of digits of most numbers, of which rows of more are often two; and that of the second at least, with characters after the row."""
_GAP = re.compile(r" ?[./—-] ?| +")
"""What separates groups of digits; national numbers are compared with the patterns below after it has become a hyphen."""
_WRITTEN = {
    "CN": re.compile(
        r"(?:\(?86\)?-?)?1[3-9]\d(?:(-?)\d{4}\1\d{4}|\d-\d{4}-\d{3}|-\d{3}-\d{3}-\d\d)"
        r"|(?:\(0(?:10|2\d|[3-9]\d\d)\)|0(?:10|2\d|[3-9]\d\d))-?\d{3,4}-?\d{3,4}"
    ),
    "US": re.compile(r"(?:1-)?(?:\(\d{3}\)-?|\d{3}-)\d{3}-\d{4}"),
    "CA": re.compile(r"(?:1-)?(?:\(\d{3}\)-?|\d{3}-)\d{3}-\d{4}"),
    "GB": re.compile(r"07\d{3}-?\d{3}-?\d{3}|\(?0\d{2,4}\)?-\d{3,4}-?\d{3,4}|\(?0\d{2,4}\)\d{3,4}-?\d{3,4}"),
}
"""How national numbers of a country are written that need no word before them."""
_ELSEWHERE = re.compile(r"\(?0\d{1,5}\)?-\d[\d-]{4,10}")
"""The same for all other countries."""
_EXTENDED = re.compile(r"(\(?0(?:10|2\d|[3-9]\d\d)\)?-?\d{7,8})-\d{1,6}")
"""A Chinese number with that of an extension."""
_EXTENSION = re.compile(r" ?(?:转|分机号?|,? ?ext(?:ension|n)?\.?|x|#) ?\d{1,6}(?!\d)", re.IGNORECASE)
_ANNOUNCED = re.compile(
    r"(?:\btel\b|telephone|phone|mobile|\bcell|call|fax|whatsapp|reach|\bring\b|\bsms\b|\btext|\bdial|\bcontact|电话|手机|座机|来电|致电|拨打|打给|传真|联系方式|号码)[^\d]{0,24}$",
    re.IGNORECASE | re.ASCII,
)
_OTHER = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|\d{4}[-. ]\d{1,2}[-. ]\d{1,2}|\d{1,2}[-. ]\d{1,2}[-. ]\d{4}")
"""Addresses of computers, and dates."""
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
        position = 0
        while match := _CANDIDATE.search(text, position):
            position = match.end()
            for number in _numbers(match.group(), text[match.end() : match.end() + _LOOK]):
                start = match.start() + match.group().index(number)
                if self._is_phone(number, text, start):
                    position = start + len(number)
                    if extension := _EXTENSION.match(text, position):
                        position = extension.end()
                    yield start, position
                    break

    def _is_phone(self, number: str, text: str, start: int) -> bool:
        if number.count("(") != number.count(")") or _OTHER.fullmatch(number):
            return False
        if _INTERNATIONAL.match(number):
            return _is_valid("+" + digits_of(number).removeprefix("00"), None)
        if of_a_thing(text, start):
            return False
        announced, shape = is_announced(text, start, _ANNOUNCED), _GAP.sub("-", number)
        if extended := _EXTENDED.fullmatch(shape):
            shape = number = extended.group(1)
        return any(
            (announced or _WRITTEN.get(country, _ELSEWHERE).fullmatch(shape)) and _is_valid(number, country) for country in self.countries
        )

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with telephone numbers."""
        return (
            ("Ring +44 20 7946 0958 after six", "+44 20 7946 0958"),
            ("我的手机是１３８ １２３４ ５６７８。", "１３８ １２３４ ５６７８"),
            ("Call (212) 736-5000, please", "(212) 736-5000"),
        )


def _numbers(candidate: str, after: str) -> Iterator[str]:
    """Yield what may be the number: all, without a bracket around more than it, or fewer groups where another number may follow."""
    number = candidate
    if number.count("(") > number.count(")"):
        number = number[1:].lstrip()
    yield number
    if sum(map(str.isdigit, number)) > _LONGEST:
        for gap in reversed(list(_SPACE.finditer(number))):
            if sum(map(str.isdigit, number[gap.end() :] + after)) >= _SHORTEST:
                yield number[: gap.start()]


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
