"""Finds numbers of passports and of travel permits, if a word before them says what they are: they have no check digit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask
from vertune.masking.checks import is_announced

_WORDS = re.compile(
    r"passport|passeport|pasaporte|passaporto|reisepass|paszport|护照|通行证|台胞证|回乡证|travel document", re.IGNORECASE | re.ASCII
)
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9])(?!(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d(?!\d))"
    r"(?:[A-Za-z]{1,3}\d{5,9}[A-Z]?|\d{8,9}|\d{2}[A-Z]{2}\d{5}|[A-Z] \d{7,8}|[A-Za-z]{0,2}\d{2,3} \d{3} \d{3}"
    r"|[CFGHJKLMNPRTVWXYZ](?=[A-Z]*\d[A-Z]*\d)[0-9CFGHJKLMNPRTVWXYZ]{8})(?![A-Za-z0-9])"
)
_FOLLOWS = re.compile(r"[ )]{0,2}(?:(?:就?是|为)(?:我|他|她|本人)?的?护照|(?:is|as) (?:my|the|his|her|our) passport)", re.IGNORECASE)


class Passport(Mask):
    """Mask of numbers of passports."""

    label: ClassVar[str] = "PASSPORT"
    precedence: ClassVar[int | None] = 70
    digits: ClassVar[bool] = True
    hints: ClassVar[tuple[str, ...]] = ("pass", "pasap", "paszport", "护照", "通行证", "台胞证", "回乡证", "travel doc")

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of numbers of passports."""
        for match in _NUMBER.finditer(text):
            if is_announced(text, match.start(), _WORDS) or _FOLLOWS.match(text, match.end()):
                yield match.span()

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with numbers of passports."""
        return (("My passport number is 533380006.", "533380006"), ("护照号码：E12345678", "E12345678"))
