"""Finds amounts of money and plain numbers in texts, in English and Chinese; converts no currency."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

from vertune.dialogue.entities.found import Found, Options
from vertune.dialogue.entities.numerals import Number, numbers

_SIGNS = {"us$": "USD", "hk$": "HKD", "a$": "AUD", "c$": "CAD", "nt$": "TWD", "$": "USD", "£": "GBP", "€": "EUR", "¥": "CNY", "₹": "INR"}
_AFTER = {
    "usd": "USD", "us dollars": "USD", "us dollar": "USD", "dollars": "USD", "dollar": "USD", "bucks": "USD", "美元": "USD",
    "美金": "USD", "eur": "EUR", "euros": "EUR", "euro": "EUR", "欧元": "EUR", "gbp": "GBP", "pounds": "GBP", "pound": "GBP",
    "quid": "GBP", "英镑": "GBP", "cny": "CNY", "rmb": "CNY", "yuan": "CNY", "元人民币": "CNY", "块人民币": "CNY", "人民币": "CNY",
    "元钱": "CNY", "元": "CNY", "块钱": "CNY", "块": "CNY", "hkd": "HKD", "hong kong dollars": "HKD", "港币": "HKD", "港元": "HKD",
    "jpy": "JPY", "yen": "JPY", "日元": "JPY", "日币": "JPY", "inr": "INR", "rupees": "INR", "rupee": "INR", "卢比": "INR",
    "chf": "CHF", "francs": "CHF", "瑞士法郎": "CHF", "aud": "AUD", "cad": "CAD",
}  # fmt: skip
_SIGN = "|".join(re.escape(sign) for sign in sorted(_SIGNS, key=len, reverse=True))
_CODES = "|".join(sorted({code.lower() for code in _AFTER.values()}))
_BEFORE = re.compile(rf"(?:(?<![a-z])(?:{_CODES})|{_SIGN}|人民币)\s*$")
_UNIT = re.compile(
    r"\s*(?:(?:"
    + "|".join(re.escape(unit) for unit in sorted(filter(str.isascii, _AFTER), key=len, reverse=True))
    + r")(?![a-z])|"
    + "|".join(unit for unit in sorted(_AFTER, key=len, reverse=True) if not unit.isascii())
    + rf"|{_SIGN})"
)  # fmt: skip
_SMALL = re.compile(r"([一二三四五六七八九\d])(?:[毛角]钱?)?(?:([一二三四五六七八九\d])分)?(?![\d一二三四五六七八九十百千万号个])")
"""What may follow 块: 3块5 is 3.50, 3块5毛2分 is 3.52."""
_COINS = re.compile(r"([一二三四五六七八九\d]{1,2})[毛角]钱?")
_CENTS = re.compile(r"\s+(?:and\s+)?(\d{1,2})\s+(?:cents?|pence)(?![a-z])")
_SMALLEST = Decimal("0.01")
_MOST = Decimal(10) ** 12
_NO_COUNT = re.compile(r"^(?:下|些|直|样|定|起|般|旦|边|会|点(?!\d)|分(?!之))")
"""Characters after which a Chinese numeral counts nothing, as in 一下 and 十分."""


def amounts(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield the amounts in a plain text; values such as `50.00 EUR`, or `50.00` if no currency is known."""
    covered = 0
    for number in numbers(text):
        if number.start < covered:
            continue
        found = _amount(text, number, options)
        if found is not None:
            covered = found.end
            yield found
    for match in _COINS.finditer(text):
        if match.start() and text[match.start() - 1] in "块元.0123456789":
            continue
        values = [number.value for number in numbers(match[1])]
        if values:
            yield Found(match.start(), match.end(), _money(values[0] / 10, "CNY"), match.group())


def plain_numbers(text: str, _: float, __: Options) -> Iterator[Found]:
    """Yield the numbers in a plain text: whole ones as int, others as float."""
    for number in numbers(text):
        if not text[number.start].isascii() and (
            _NO_COUNT.match(text[number.end :]) or text[number.start : number.end] in {"万一", "千万"}
        ):
            continue
        negative = number.start > 0 and text[number.start - 1] == "-" and (number.start == 1 or text[number.start - 2].isspace())
        start = number.start - negative
        value = -number.value if negative else number.value
        yield Found(start, number.end, int(value) if value == int(value) else float(value), text[start : number.end])


def _amount(text: str, number: Number, options: Options) -> Found | None:
    if number.value > _MOST:
        return None
    before, after = _BEFORE.search(text[: number.start]), _UNIT.match(text, number.end)
    start, end, value = number.start, number.end, number.value
    if before:
        sign = before.group().strip()
        currency = options.currency if sign == "$" and (options.currency or "").endswith("D") else _SIGNS.get(sign) or _AFTER.get(sign)
        start = before.start()
        if after and _SIGNS.get(sign, _AFTER.get(sign)) == _currency(after.group()):
            end = after.end()
    elif after:
        currency, end = _currency(after.group()), after.end()
        if currency == "USD" and (options.currency or "").endswith("D") and after.group().strip() in {"$", "dollar", "dollars", "bucks"}:
            currency = options.currency
        value, end = _with_coins(text, value, end, after.group().strip())
    elif options.asked:
        currency = options.currency
    else:
        return None
    return Found(start, end, _money(value, currency), text[start:end])


def _with_coins(text: str, value: Decimal, end: int, unit: str) -> tuple[Decimal, int]:
    coins = _SMALL.match(text, end) if unit in {"块", "元"} else None
    if coins:
        tenths, hundredths = ([number.value for number in numbers(group)] if group else [Decimal(0)] for group in coins.groups())
        if tenths and hundredths:
            return value + tenths[0] / 10 + hundredths[0] / 100, coins.end()
    cents = _CENTS.match(text, end)
    return (value + Decimal(cents[1]) / 100, cents.end()) if cents else (value, end)


def _currency(unit: str) -> str | None:
    unit = " ".join(unit.split())
    return _AFTER.get(unit) or _SIGNS.get(unit)


def _money(value: Decimal, currency: str | None) -> str:
    exact = value.quantize(_SMALLEST, rounding=ROUND_HALF_UP)
    return f"{exact} {currency}" if currency else str(exact)
