"""Finds times of the day in texts, in English and Chinese; knows nothing of days."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vertune.dialogue.entities.found import Found, Options, longest
from vertune.dialogue.entities.numerals import chinese, english

_HOURS = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_APART = r"(?<![\w.:/])(?<!\d-)(?<![^\w]-)"
"""What is in front of a time: not a part of a number, but the dash of a range may be."""
_HOUR = rf"(?P<hour>\d{{1,2}}|{_HOURS})"
_HALF = r"(?P<half>\s*[ap]\.?\s?m(?![a-z])(?!\s+i(?![a-z]))\.?|\s+in\s+the\s+(?:morning|afternoon|evening)|\s+at\s+night)"
_CLOCK = re.compile(
    rf"{_APART}(?P<hour>\d{{1,2}})[:.](?P<minute>[0-5]\d){_HALF}|{_APART}(?P<hour24>\d{{1,2}}):(?P<minute24>[0-5]\d)(?![\d:])"
    r"|(?<![\w.:/-])(?P<hour_h>\d{1,2})h(?P<minute_h>[0-5]\d)(?!\w)"
)
_WORDS = re.compile(
    rf"(?<![a-z])(?P<hour>{_HOURS})\s+(?P<minute>(?:twenty|thirty|forty|fifty)(?:[\s-](?:one|two|three|four|five|six|seven|eight|nine))?|ten|fifteen)"
    rf"{_HALF}"
)
_LATER = re.compile(
    rf"(?<![\w.:/-])(?P<hour>\d{{1,2}}|{_HOURS})(?::(?P<minute>[0-5]\d))?"
    r"(?=\s+(?:tonight|(?:this|tomorrow)\s+(?P<part>morning|afternoon|evening|night))(?![a-z]))"
)
"""An hour in front of a part of a certain day, which isn't a part of the time, because it says the day too."""
_HOURLY = re.compile(rf"{_APART}{_HOUR}(?:\s+o'?\s?clock)?{_HALF}|{_APART}(?P<bare>\d{{1,2}}|{_HOURS})\s+o'?\s?clock")
_PAST = re.compile(
    rf"(?<![a-z])(?:(?P<part>half|(?:a\s+)?quarter|ten|five|twenty)\s+(?P<side>past|to)\s+|(?P<british>half)\s+(?={_HOURS})){_HOUR}{_HALF}?(?![a-z\d])"
)
_UNTIL = re.compile(
    rf"(?<![\w.:/-])(?:(?P<hour>\d{{1,2}}|{_HOURS})(?::(?P<minute>[0-5]\d))?)"
    rf"(?=\s*(?P<joint>-|–|to|till|until|and)\s*(?:\d{{1,2}}|{_HOURS})(?::[0-5]\d)?{_HALF})"
)
"""The first hour of a range whose second one says the half of the day."""
_RANGE = re.compile(r"\s*(?:[-–~—到至]|to|until)\s*")
_PARTS = {"half": 30, "quarter": 15, "five": 5, "ten": 10, "twenty": 20}
_NAMED = {"noon": "12:00", "midday": "12:00", "midnight": "00:00", "正午": "12:00", "午夜": "00:00", "零点": "00:00"}
_NAME = re.compile(r"(?<![a-z])(?:noon|midday|midnight)(?![a-z])|正午|午夜|零点(?![\d一二三四五六七八九十半])")
_ASKED = re.compile(rf"^\W*(?:(?:at|around|about|by)\s+)?(?P<hour>\d{{1,2}}|{_HOURS})\W*$")
_PARTS_OF_DAY = "凌晨|早上|早晨|清晨|上午|中午|下午|傍晚|晚上|夜里|半夜|深夜|夜间|(?<![今明昨])晚"
_IN_THE_DAY = "(?<=今晚)|(?<=明晚)|(?<=昨晚)|(?<=今早)|(?<=明早)"
"""Words for a part of a certain day, which are that day's, so that only their last character says the part."""
_PERIOD = rf"(?:(?P<period>{_PARTS_OF_DAY}|{_IN_THE_DAY})\s?)?"
_MINUTES = r"一刻|(?:[一二三四五六七八九十]{1,3}|\d{1,2})分钟?"
_CHINESE = re.compile(
    rf"(?<!第){_PERIOD}(?:差(?P<before>{_MINUTES})(?:到)?)?(?P<hour>\d{{1,2}}|[一二三四五六七八九十两]{{1,3}})\s?(?:点钟?|时|:(?=\d\d))"
    r"(?!\s?(?:建议|意见|问题|要求|疑问|想法|原因|说明|理由|不满|好处|坏处|不足|感受|希望|补充|需求|请求|质疑))"
    rf"(?P<rest>半|一刻|三刻|整|差(?P<behind>{_MINUTES})|零?[一二三四五六七八九十]{{1,3}}分?|\d{{1,2}}分?)?"
)
_A_BIT = re.compile(r"(?:有|早|快|差|慢|晚|再|多|少|便宜|好|大|小|高|低)$")
"""Characters after which 一点 means a bit."""
_AFTERNOON = frozenset({"下午", "傍晚", "晚上", "晚"})
_LATE = frozenset({"夜里", "半夜", "深夜", "夜间"})
"""Parts of the day of which the small hours are after midnight."""
_SMALL_HOURS = 6

_SAYS_HALF = re.compile(r"[apm午早晚晨夜]")
_NIGHT = frozenset({"凌晨", "晚上", "晚"}) | _LATE
"""Parts of the day of which twelve is midnight."""


def times(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield the times in a plain text; values such as `15:30`.

    Without a part of the day, an hour below 13 is taken as it is written, except for the end of a range, which isn't before its beginning.
    """
    found = longest(list(_single(text, options)))
    for before, one in zip([None, *found], found, strict=False):
        yield _later(text, before, one) if before is not None else one


def _later(text: str, before: Found, one: Found) -> Found:
    """Return the end of a range in the afternoon if its beginning is there: 下午2:00-4:00."""
    hour, minute = map(int, one.value.split(":"))
    joined = _RANGE.fullmatch(text, before.end, one.start) is not None
    if joined and not _SAYS_HALF.search(one.raw) and one.value < before.value < f"{hour + 12:02}:{minute:02}" and hour < 12:
        return one._replace(value=f"{hour + 12:02}:{minute:02}")
    return one


def _single(text: str, options: Options) -> Iterator[Found]:
    for match in _LATER.finditer(text):
        half = f"in the {match['part'] or 'night'}" if _whole(match["hour"]) <= 12 else None
        yield from _found(match, _hour(match["hour"], half), int(match["minute"] or 0))
    for match in _UNTIL.finditer(text):
        if match["joint"] != "and" or text[: match.start()].rstrip().endswith("between"):
            yield from _found(match, _hour(match["hour"], match["half"]), int(match["minute"] or 0))
    for match in _CLOCK.finditer(text):
        written = match["hour"] or match["hour24"] or match["hour_h"]
        yield from _found(match, _hour(written, match["half"]), int(match["minute"] or match["minute24"] or match["minute_h"]))
    for match in _HOURLY.finditer(text):
        yield from _found(match, _hour(match["hour"] or match["bare"], match["half"]), 0)
    for match in _PAST.finditer(text):
        hour, part = _hour(match["hour"], match["half"]), _PARTS[(match["part"] or match["british"]).split()[-1]]
        if hour is not None:
            minutes = hour * 60 + (-part if match["side"] == "to" else part)
            yield from _found(match, minutes // 60 % 24, minutes % 60)
    for match in _WORDS.finditer(text):
        yield from _found(match, _hour(match["hour"], match["half"]), english(match["minute"]) or 0)
    for match in _NAME.finditer(text):
        yield Found(match.start(), match.end(), _NAMED[match.group()], match.group())
    yield from _chinese(text)
    if options.asked and (bare := _ASKED.search(text)):
        yield from _found(bare, _hour(bare["hour"], None), 0)


def _chinese(text: str) -> Iterator[Found]:
    for match in _CHINESE.finditer(text):
        rest = match["rest"] or ""
        period = match["period"] or (text[match.start() - 1 : match.start()] if match["period"] is not None else "")
        number = chinese(match["hour"])
        if number is None or (not period and match["hour"] == "一" and (not rest or _A_BIT.search(text[: match.start()]))):
            continue  # 一点 alone is nearly always a bit
        hour = int(number)
        late = period in _LATE and _SMALL_HOURS <= hour < 12
        if (period in _AFTERNOON and hour < 12) or (period == "中午" and hour < 3) or late:
            hour += 12
        elif hour == 12 and period in _NIGHT:
            hour = 0
        less = match["before"] or match["behind"]
        minutes = hour * 60 + (_minutes(rest) if not less else -_minutes(less))
        yield from _found(match, minutes // 60 % 24 if less else hour, minutes % 60 if less else _minutes(rest))


def _minutes(rest: str) -> int:
    named = {"": 0, "整": 0, "半": 30, "一刻": 15, "三刻": 45}
    if rest in named:
        return named[rest]
    value = chinese(rest.removesuffix("钟").removesuffix("分").lstrip("零") or "零")
    return 60 if value is None else int(value)


def _hour(written: str, half: str | None) -> int | None:
    """Return the hour of the day; None if there is none, such as 13 p.m."""
    hour = _whole(written)
    if not half:
        return hour
    if not 1 <= hour <= 12:
        return None
    half = half.strip()
    return hour % 12 + (12 if half.startswith("p") or "afternoon" in half or "evening" in half or ("night" in half and hour > 5) else 0)


def _whole(written: str) -> int:
    return int(written) if written.isdigit() else english(written) or 0


def _found(match: re.Match[str], hour: int | None, minute: int) -> Iterator[Found]:
    if hour == 24 and minute == 0:
        hour = 0
    if hour is not None and 0 <= hour < 24 and 0 <= minute < 60:
        yield Found(match.start(), match.end(), f"{hour:02}:{minute:02}", match.group())
