"""Checks of numbers that several masks share: check digits, and the words before a number that say what it is."""

from __future__ import annotations

import re

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_BEFORE = 40
"""Number of characters before a number in which a word may say what it is."""


def luhn(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others by the method of Luhn (ISO/IEC 7812)."""
    total = sum(_DOUBLED[int(digit)] if place % 2 else int(digit) for place, digit in enumerate(reversed(digits)))
    return total % 10 == 0


def digits_of(text: str) -> str:
    """Return the digits of a text alone."""
    return "".join(filter(str.isdigit, text))


def is_announced(text: str, start: int, words: re.Pattern[str], before: int = _BEFORE) -> bool:
    """Return whether one of the words stands shortly before a place: in the `before` characters before it."""
    return words.search(text[max(0, start - before) : start]) is not None


_OTHER_NUMBER = re.compile(
    r"(?:order|invoice|reference|\bref\b|tracking|parcel|shipment|ticket|case|serial|\bsku|model|version|build|part|batch|receipt|transaction"
    r"|\bpo\b|\bisbn|\bean|\bimei|barcode|\bupc\b|\bgtin|claim|confirmation|booking|reservation|订单|单号|流水|编号|快递|运单|发票|序列|型号|版本|货号|条码|批号|工单|交易|凭证|合同|商户|批次|参考号|保单|受理|取件)"
    r"[\s\w号码是为:#.()]{0,12}?[\s:#=.是为]?$",
    re.IGNORECASE | re.ASCII,
)
_NEAR = 28
"""Number of characters before a number in which words say that it is the number of a thing."""


def of_a_thing(text: str, start: int) -> bool:
    """Return whether the words before a number say that it is the number of an order, an invoice, a parcel, a part …"""
    return is_announced(text, start, _OTHER_NUMBER, _NEAR)
