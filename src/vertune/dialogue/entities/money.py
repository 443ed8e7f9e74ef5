"""Finds amounts of money and plain numbers in texts, in English and Chinese; converts no currency."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal

from vertune.dialogue.entities.found import Found, Options
from vertune.dialogue.entities.numerals import Number, numbers

_SIGNS = {"us$": "USD", "hk$": "HKD", "a$": "AUD", "c$": "CAD", "nt$": "TWD", "$": "USD", "£": "GBP", "€": "EUR", "¥": "CNY", "₹": "INR"}
_AFTER = {
    "usd": "USD", "us dollars": "USD", "us dollar": "USD", "dollars": "USD", "dollar": "USD", "bucks": "USD", "buck": "USD",
    "美元": "USD", "美金": "USD", "美刀": "USD", "刀": "USD",
    "eur": "EUR", "euros": "EUR", "euro": "EUR", "欧元": "EUR", "gbp": "GBP", "pounds": "GBP",
    "pound": "GBP", "quid": "GBP", "英镑": "GBP", "镑": "GBP", "cny": "CNY",
    "rmb": "CNY", "yuan": "CNY", "元人民币": "CNY", "块人民币": "CNY", "人民币": "CNY",
    "元钱": "CNY", "元": "CNY", "块钱": "CNY", "块": "CNY", "大洋": "CNY",
    "hkd": "HKD", "hong kong dollars": "HKD", "港币": "HKD", "港元": "HKD",
    "台币": "TWD", "臺币": "TWD", "新台币": "TWD", "澳元": "AUD", "澳币": "AUD", "加元": "CAD", "加币": "CAD",
    "jpy": "JPY", "yen": "JPY", "日元": "JPY", "日币": "JPY", "inr": "INR", "rupees": "INR", "rupee": "INR", "卢比": "INR",
    "rs": "INR", "rs.": "INR",
    "chf": "CHF", "francs": "CHF", "瑞士法郎": "CHF", "aud": "AUD", "cad": "CAD",
}  # fmt: skip
_SIGN = "|".join(re.escape(sign) for sign in sorted(_SIGNS, key=len, reverse=True))
_CODES = "|".join(sorted({code.lower() for code in _AFTER.values()}))
_NAMES_BEFORE = "rmb|人民币|港币|港元|美元|美金|欧元|英镑|日元|日币|新?[台臺]币|澳元|澳币|加元|加币|卢比"
_BEFORE = re.compile(rf"(?:(?<![a-z])(?:{_CODES}|rs\.?)|{_SIGN}|{_NAMES_BEFORE})\s*$")
_UNIT = re.compile(
    r"\s*(?:(?:"
    + "|".join(re.escape(unit) for unit in sorted(filter(str.isascii, _AFTER), key=len, reverse=True))
    + r")(?![a-z])|"
    + "|".join(unit for unit in sorted(_AFTER, key=len, reverse=True) if not unit.isascii())
    + rf"|{_SIGN})"
)  # fmt: skip
_DIGIT = "[一二两三四五六七八九\\d]"
_SMALL = re.compile(
    rf"零?({_DIGIT})(?:(?:[毛角]钱?)(?:({_DIGIT})(?:分钱?)?)?|(?:({_DIGIT})分))?(?![\d一二三四五六七八九十百千万号个])|(?P<half>半)(?![\u3400-\u9fff])"
)
"""What may follow 块: 3块5 is 3.50, 3块5毛2分 and 3块5毛2 are 3.52, 3块半 is 3.50."""
_COINS = re.compile(rf"({_DIGIT}{{1,2}})[毛角](?:钱|({_DIGIT})分?(?![\d一二三四五六七八九十百千万号个]))?")
_SMALL_WORDS = (
    r"\d{1,2}|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[\s-](?:one|two|three|four|five|six|seven|eight|nine))?"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|ten|eleven|twelve|one|two|three|four|five|six|seven|eight|nine"
)
_CENTS = re.compile(rf"\s+(?:and\s+)?({_SMALL_WORDS})\s+(?:cents?|pence)(?![a-z])")
_CENTS_ALONE = re.compile(rf"(?<![a-z\d.,-])({_SMALL_WORDS})\s?(?:cents?|pence|(?:(?<=\d)|(?<=[a-z]\s))p(?!\.?\s?m(?![a-z])))(?![a-z])")
_AND_CENTS = re.compile(rf"\s+({_SMALL_WORDS})(?=\s*(?:$|[,.;!?])|\s+(?:for|to|from|and|please|back|at)(?![a-z]))")
"""What may follow dollars and is cents although it has no unit: `a dollar fifty`, `20 dollars 50`."""
_ONE = re.compile(
    r"(?<![a-z])(?P<half>half\s+)?an?\s+(dollar|buck|euro|pound(?=\s+(?:fifty|\d\d)))(?![a-z])(?!\s+(?:store|shop|sign|bill|note|amount|figure|value))"
)
_GRAND = re.compile(
    rf"(?<![a-z\d.])(?P<count>half\s+a|an?|a\s+couple(?:\s+of)?|(?:\d+(?:\.\d+)?|{_SMALL_WORDS})(?:\s+and\s+a\s+half)?)\s+grand"
    r"(?P<half>\s+and\s+a\s+half(?![a-z]))?"
    r"(?=\s*(?:$|[,.;!?])|\s+(?:to|from|for|in|into|please|and|or|today|tomorrow|now|by|is|was|on|at|of)(?![a-z]))"
)
_GRANDS = {"half a": Decimal("0.5"), "a": Decimal(1), "an": Decimal(1), "a couple": Decimal(2), "a couple of": Decimal(2)}
_RANGE = re.compile(r"[-~–—]|\s*[到至]\s*|\s+(?:to|and)\s+")
_RANGE_FROM = re.compile(r"(?<![a-z])between\s+$")
_PIECES = re.compile(r"[去来走玩]|儿|[电手智]|(?:屏|蛋糕|布|肉|地|砖|石|玻璃|橡皮|木|毛巾|硬盘|肥皂|香皂|板|糖|面包|豆腐|巧克力|表)")
"""What follows 块 where it counts pieces, or means `together`."""
_NEGATIVE = re.compile(r"(?:^|[\s,(:：])[-−–]\s?$|(?<![a-z])(?:minus|negative)\s+$|负$")
"""What makes a number negative."""
_SMALLEST = Decimal("0.01")
_MOST = Decimal(10) ** 12
_COUNTED = ((6, "six"), (6, "_6"), (12, "twelve"), (12, "_12"), (2, "two"), (3, "three"))
_COUNTS = re.compile(
    r"(?<![a-z])(?:(?P<six>half\s+a\s+dozen)|(?P<twelve>(?:a|one)\s+dozen)|(?P<two>a\s+couple|a\s+pair|both))(?![a-z])(?!\s+(?:hundred|thousand|million))"
    r"|(?P<three>仨)|(?P<_6>半打)|(?P<_12>一打)"
)
_NO_COUNT = re.compile(r"^(?:下|些|直|样|定|起|般|旦|边|会|点(?!\d)|分(?!之))")
"""Characters after which a Chinese numeral counts nothing, as in 一下 and 十分."""


def amounts(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield the amounts in a plain text; values such as `50.00 EUR`, or `50.00` if no currency is known.

    Both ends of a range have the currency of one of them. What is negative is no amount.
    """
    covered, found = 0, []
    spoken = list(_spoken(text, options))
    places = [(one.start, one.end) for one in spoken]
    written = [number for number in numbers(text) if not any(start <= number.start < end for start, end in places)]
    for number in written:
        if number.start < covered:
            continue
        one = _amount(text, number, options, covered)
        if one is not None:
            covered = one.end
            found.append(one)
    yield from spoken
    yield from found
    yield from _other_ends(text, written, found)


def _spoken(text: str, options: Options) -> Iterator[Found]:
    """Yield amounts that are no number with a currency: `a dollar fifty`, `two grand`, `50 cents`, 五毛."""
    dollars = options.currency if (options.currency or "").endswith("D") else "USD"
    for match in _ONE.finditer(text):
        currency = {"euro": "EUR", "pound": "GBP"}.get(match[2], dollars)
        value, end = (Decimal("0.5"), match.end()) if match["half"] else _with_cents(text, Decimal(1), match.end())
        yield Found(match.start(), end, _money(value, currency), text[match.start() : end])
    for match in _GRAND.finditer(text):
        count = _GRANDS.get(" ".join(match["count"].split())) or _small(match["count"])
        count += Decimal("0.5") if match["half"] else 0
        unit = _UNIT.match(text, match.end())
        yield Found(match.start(), match.end(), _money(count * 1_000, _currency(unit.group()) if unit else options.currency), match.group())
    for match in _CENTS_ALONE.finditer(text):
        pence = match.group().endswith("p") or "pence" in match.group()
        currency = "GBP" if pence else "EUR" if options.currency == "EUR" else dollars
        yield Found(match.start(), match.end(), _money(_small(match[1]) / 100, currency), match.group())
    for match in _COINS.finditer(text):
        if match.start() and text[match.start() - 1] in "块元零.0123456789":
            continue
        value = _small(match[1]) / 10 + (_small(match[2]) / 100 if match[2] else 0)
        yield Found(match.start(), match.end(), _money(value, "CNY"), match.group())


def _other_ends(text: str, written: Sequence[Number], found: Sequence[Found]) -> Iterator[Found]:
    """Yield the ends of ranges that have no currency of their own: the 100 of `100 to 200 dollars` and the 200 of `$100-200`."""
    starts, ends = {one.start: one for one in found}, {one.end: one for one in found}
    for number in written:
        if number.start in starts or number.end in ends:
            continue
        after, before = _RANGE.match(text, number.end), [one for one in found if _RANGE.fullmatch(text, one.end, number.start)]
        other = starts.get(after.end()) if after else None
        if after and "and" in after.group() and not _RANGE_FROM.search(text[: number.start]):
            other = None
        other = other or (before[0] if before and "and" not in text[before[0].end : number.start] else None)
        if other is not None and not any(number.start < one.end and one.start < number.end for one in found):
            currency = str(other.value).partition(" ")[2] or None
            yield Found(number.start, number.end, _money(number.value, currency), text[number.start : number.end])


def plain_numbers(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield the numbers in a plain text: whole ones as int, others as float; in replies also `a couple` and 半打."""
    for match in _COUNTS.finditer(text) if options.asked else ():
        yield Found(match.start(), match.end(), next(count for count, group in _COUNTED if match[group]), match.group())
    for number in numbers(text):
        if not text[number.start].isascii() and (
            _NO_COUNT.match(text[number.end :]) or text[number.start : number.end] in {"万一", "千万"}
        ):
            continue
        negative = number.start > 0 and text[number.start - 1] == "-" and (number.start == 1 or text[number.start - 2].isspace())
        start = number.start - negative
        value = -number.value if negative else number.value
        yield Found(start, number.end, int(value) if value == int(value) else float(value), text[start : number.end])


def _amount(text: str, number: Number, options: Options, covered: int) -> Found | None:
    """Return the amount that a number is; None for one without a currency that replies to nothing, and for a negative one."""
    before, after = _BEFORE.search(text[: number.start]), _UNIT.match(text, number.end)
    start, end, value = number.start, number.end, number.value
    if before and before.start() < covered:
        before = None
    if value > _MOST or _NEGATIVE.search(text[: before.start() if before else start]):
        return None
    if before:
        sign = before.group().strip()
        currency = options.currency if sign == "$" and (options.currency or "").endswith("D") else _SIGNS.get(sign) or _AFTER.get(sign)
        start = before.start()
        if after and _SIGNS.get(sign, _AFTER.get(sign)) == _currency(after.group()):
            end = after.end()
    elif after:
        unit = after.group().strip()
        if text[start - 1 : start] == "第" or text.startswith("店", after.end()):
            return None
        if unit == "块" and value < 10 and _PIECES.match(text, after.end()):
            return None
        currency, end = _currency(after.group()), after.end()
        if currency == "USD" and (options.currency or "").endswith("D") and unit in {"$", "dollar", "dollars", "buck", "bucks"}:
            currency = options.currency
        value, end = _with_coins(text, value, end, unit)
    elif options.asked:
        currency = options.currency
    else:
        return None
    return Found(start, end, _money(value, currency), text[start:end])


def _with_coins(text: str, value: Decimal, end: int, unit: str) -> tuple[Decimal, int]:
    """Return an amount with the coins that follow its unit, and where they end."""
    coins = _SMALL.match(text, end) if unit in {"块", "元"} else None
    if coins and coins["half"]:
        return value + Decimal("0.5"), coins.end()
    if coins:
        return value + _small(coins[1]) / 10 + _small(coins[2] or coins[3] or "0") / 100, coins.end()
    return _with_cents(text, value, end) if unit.isascii() else (value, end)


def _with_cents(text: str, value: Decimal, end: int) -> tuple[Decimal, int]:
    cents = _CENTS.match(text, end) or _AND_CENTS.match(text, end)
    return (value + _small(cents[1]) / 100, cents.end()) if cents else (value, end)


def _small(written: str) -> Decimal:
    """Return a small number in digits, English words or Chinese characters."""
    return next((number.value for number in numbers(written)), Decimal(0))


def _currency(unit: str) -> str | None:
    unit = " ".join(unit.split())
    return _AFTER.get(unit) or _SIGNS.get(unit)


def _money(value: Decimal, currency: str | None) -> str:
    exact = value.quantize(_SMALLEST, rounding=ROUND_HALF_UP)
    return f"{exact} {currency}" if currency else str(exact)
