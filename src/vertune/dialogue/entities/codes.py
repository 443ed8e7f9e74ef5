"""Finds what identifies something: the last digits of a card, order numbers, telephone numbers, mail addresses; checks none of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from types import ModuleType

from vertune.core.errors import MissingExtra
from vertune.dialogue.entities.found import Found, Options
from vertune.dialogue.entities.numerals import digits_of, english

_SPOKEN = r"(?:(?:double|triple)\s+)?(?:zero|oh|one|two|three|four|five|six|seven|eight|nine)"
_TENS = r"(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[\s-](?:one|two|three|four|five|six|seven|eight|nine))?"
_TEENS = r"(?:ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen)"
_PAIR = rf"(?:{_TENS}|{_TEENS})\s+(?:{_TENS}|{_TEENS})"
_FOUR = (
    rf"(?P<ending>\d[\s-]?\d[\s-]?\d[\s-]?\d(?![\s-]?\d)|[零〇一二三四五六七八九幺]{{4}}(?![零〇一二三四五六七八九幺])"
    rf"|{_PAIR}(?![a-z])|{_SPOKEN}(?:[\s,-]+{_SPOKEN}){{1,3}}(?![a-z]))"
)
_ANNOUNCED = re.compile(
    r"(?:ending|ends|finishing|last\s+(?:four|4)(?:\s+(?:digits|numbers))?|尾号|尾数|末尾四位|后四位|末四位|最后四位|后4位|末4位|最后4位|卡尾)"
    rf"(?:\s+(?:in|with|on|are|is|of))?(?:\s+the\s+(?:card|digits|numbers))?(?:\s+(?:is|are))?(?:数字|数)?[\s:,]*(?:是|为)?\s*{_FOUR}"
)
_ALSO = re.compile(rf"\s*(?:和|与|跟|及|、|,|and|or|&)\s*{_FOUR}")
"""How a second card follows the first one."""
_ENDS = re.compile(rf"{_FOUR}\s*(?:结尾|尾号|as\s+the\s+last\s+(?:four|4))")
_CARD = re.compile(r"(?<![\d-])(?:(?:[*x•·]{2,}|…+|\.{3})[\s-]*|(?:\d{4}[ -]?){3})(?P<ending>\d{4})(?![\d-])")
_BARE = re.compile(rf"(?<![\w.,-]){_FOUR}(?![\w-]|[.,]\d)")
_BARE_CHINESE = re.compile(rf"(?<![\d-]){_FOUR}(?![\d-])")
_ORDER = r"(?=[a-z0-9-]*\d[a-z0-9-]*\d)[a-z0-9][a-z0-9-]{4,29}"
_ORDER_CUE = re.compile(
    rf"(?:(?:order|reference|tracking|booking|parcel|ref|return|ticket)(?:\s+(?:number|no\.?|id|code|#))?|#"
    rf"|(?:订单|单号|快递|运单|物流|编号|流水)(?:号码|号|编号)?)[\s:#]*(?:is|was|是|为)?[\s:]*(?P<number>{_ORDER})(?![a-z0-9-])"
)
_ORDER_ALONE = re.compile(rf"(?<![a-z0-9-])(?P<number>{_ORDER})(?![a-z0-9-])")
_RUN = re.compile(r"[a-z]{0,4}\d[a-z0-9]*(?:[ _/.-][a-z]{0,4}\d[a-z0-9]*)+")
_MOST_GROUPS = 6
"""Number of groups in which an order number may be written."""
_SPELLED_OUT = re.compile(rf"(?<![a-z]){_SPOKEN}(?:[\s,-]+(?:{_SPOKEN}|\d(?!\d))){{5,39}}(?![a-z])")
"""A number that is read aloud, digit by digit."""
_CHINESE_DIGITS = re.compile(r"[零〇一二三四五六七八九幺]{6,40}")
_GLUED = r"(?:(?<![a-z0-9])|(?<=order)|(?<=number)|(?<=no))"
"""What may stand in front of an order number: nothing, or a word for it without a space."""
_MAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%-]{1,64}(?: ?@ ?| ?[(\[]at[)\]] ?)(?:[a-z0-9](?:[a-z0-9-]{0,62})[.。]){1,8}[a-z]{2,24}(?![a-z0-9-])", re.ASCII
)
_AT = re.compile(r" ?(?:@|[(\[]at[)\]]) ?")
_PHONE = re.compile(r"(?<![a-z0-9_.,/$€£¥-])(?:\+|00 ?)?\(?\d(?:[ ().-]{0,3}\d){6,16}(?![a-z0-9_%])(?![.,:]\d)")
_CHINESE_PHONE = re.compile(r"\(?0|1[3-9]|400")
_PACKAGE = "phonenumbers"


def card_endings(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield the last four digits of cards in a plain text; of a card's full number, the value holds no more either."""
    forms = [_ANNOUNCED, _ENDS, _CARD]
    if options.asked:
        forms += [_BARE, _BARE_CHINESE]
    for form in forms:
        for match in form.finditer(text):
            yield from _ending(match)
            more = _ALSO.match(text, match.end()) if form is _ANNOUNCED else None
            if more:
                yield from _ending(more)


def _ending(match: re.Match[str]) -> Iterator[Found]:
    """Yield the four digits of a match, if they are four."""
    written = match["ending"]
    digits = digits_of(written)
    if len(digits) != 4 and (pair := re.fullmatch(rf"({_TENS}|{_TEENS})\s+({_TENS}|{_TEENS})", written)):
        digits = "".join(f"{english(half)}" for half in pair.groups())
    if len(digits) == 4:
        yield Found(match.start(), match.end(), digits, match.group())


def order_numbers(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield the order numbers in a plain text, in upper case: what fits the pattern; without one, codes that are announced or asked for.

    What fits the pattern may be written in groups, such as 2026 1123 0001, or digit by digit in English words or Chinese characters.
    """
    if options.pattern:
        pattern = _compiled(options.pattern)
        for match in pattern.finditer(text):
            if match.group():
                yield Found(match.start(), match.end(), match.group().upper(), match.group())
        yield from _grouped(text, pattern)
        for match in (*_CHINESE_DIGITS.finditer(text), *_SPELLED_OUT.finditer(text)):
            if pattern.fullmatch(digits_of(match.group())):
                yield Found(match.start(), match.end(), digits_of(match.group()), match.group())
        return
    for form in (_ORDER_CUE, _ORDER_ALONE) if options.asked else (_ORDER_CUE,):
        for match in form.finditer(text):
            yield Found(match.start("number"), match.end("number"), match["number"].upper(), match["number"])


def _grouped(text: str, pattern: re.Pattern[str]) -> Iterator[Found]:
    """Yield what fits a pattern without the blanks or marks between its groups."""
    for run in _RUN.finditer(text):
        groups = list(re.finditer(r"[a-z0-9]+", run.group()))
        for first in range(len(groups)):
            for last in range(first + 1, min(first + _MOST_GROUPS, len(groups))):
                joined = "".join(group.group() for group in groups[first : last + 1])
                if pattern.fullmatch(joined):
                    start, end = run.start() + groups[first].start(), run.start() + groups[last].end()
                    yield Found(start, end, joined.upper(), text[start:end])


def mails(text: str, _: float, __: Options) -> Iterator[Found]:
    """Yield the mail addresses in a plain text."""
    for match in _MAIL.finditer(text):
        yield Found(match.start(), match.end(), _AT.sub("@", match.group()).replace("。", "."), match.group())


def phones(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield the valid telephone numbers in a plain text, as E.164. Raises MissingExtra without the package phonenumbers."""
    for match in _PHONE.finditer(text):
        for country in options.countries:
            number = _phone(match.group(), country)
            if number:
                yield Found(match.start(), match.end(), number, match.group())
                break
    for match in _CHINESE_DIGITS.finditer(text):
        number = _phone(digits_of(match.group()), "CN") if "CN" in options.countries else None
        if number:
            yield Found(match.start(), match.end(), number, match.group())


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return an expression for a pattern that must not go on with letters or digits; the text is in lower case."""
    return re.compile(rf"{_GLUED}(?:{pattern})(?![a-z0-9])", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def _phone(written: str, country: str) -> str | None:
    library = _library()
    number = re.sub(r"^00 ?|^\(?(?=86\)?[ -]?1[3-9]\d{9}$)", "+", written)
    if country == "CN" and not number.startswith("+") and not _CHINESE_PHONE.match(written):
        return None  # landlines are valid without their leading zero, but nobody writes them so, and American numbers look alike
    try:
        parsed = library.parse(number, country)
    except library.NumberParseException:
        return None
    return str(library.format_number(parsed, library.PhoneNumberFormat.E164)) if library.is_valid_number(parsed) else None


def _library() -> ModuleType:
    try:
        import phonenumbers
    except ImportError as error:
        raise MissingExtra("Finding telephone numbers", "mask", _PACKAGE) from error
    return phonenumbers
