"""Finds International Bank Account Numbers, by the length and the check digits (ISO 13616) that their country has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask

_NUMBER = re.compile(r"[A-Za-z]{2}\d{2}(?:(?<![A-Za-z0-9].{4})|(?<=(?:IBAN|iban).{4}))(?:[ .-]?[A-Za-z0-9]){10,32}")
_FOLLOWS = re.compile("[A-Za-z0-9]")
_SEPARATORS = " .-"
_LENGTHS = {
    name: int(length)
    for length, names in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN", 21: "CH HR LI LV",
        22: "BG BH DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for name in names.split()
}  # fmt: skip
"""The length of the numbers of each country."""


class Iban(Mask):
    """Mask of International Bank Account Numbers."""

    label: ClassVar[str] = "IBAN"
    precedence: ClassVar[int | None] = 40
    digits: ClassVar[bool] = True

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of account numbers."""
        for match in _NUMBER.finditer(text):
            length = _LENGTHS.get(match.group()[:2].upper(), 0)
            end, count = match.start(), 0
            for char in match.group():
                end += 1
                count += char not in _SEPARATORS
                if count == length:
                    break
            number = "".join(char for char in match.group()[: end - match.start()] if char not in _SEPARATORS).upper()
            if len(number) == length and not _FOLLOWS.match(text, end) and _is_valid(number):
                yield match.start(), end

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with account numbers."""
        return (
            ("Send it to DE89 3704 0044 0532 0130 00 today", "DE89 3704 0044 0532 0130 00"),
            ("IBAN:GB29NWBK60161331926819.", "GB29NWBK60161331926819"),
        )


def _is_valid(number: str) -> bool:
    """Return whether the number is 1 modulo 97, with its first four characters at the end and letters as 10 to 35."""
    return int("".join(str(int(char, 36)) for char in number[4:] + number[:4])) % 97 == 1
