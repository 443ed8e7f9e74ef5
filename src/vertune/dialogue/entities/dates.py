"""Finds days in texts, absolute and relative to today, in English and Chinese; knows nothing of hours.

`next Friday` and 下周五 are the Friday of the next calendar week, which begins on a Monday; `last Friday` is the one before today.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from vertune.dialogue.entities.found import Found, Options
from vertune.dialogue.entities.numerals import chinese, english

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_MONTHS |= {name[:3]: number for name, number in _MONTHS.items()} | {"sept": 9}
_DAYS = {name.lower(): number for number, name in enumerate(calendar.day_name)}
_DAYS |= {name[:3]: number for name, number in _DAYS.items()} | {"tues": 1, "thur": 3, "thurs": 3}
_CHINESE_DAYS = {
    **{str(number + 1): number for number in range(7)},
    **{character: number for number, character in enumerate("一二三四五六日")},
    "天": 6,
    "末": 5,
}
_RELATIVE = {
    "day before yesterday": -2, "yesterday": -1, "today": 0, "tonight": 0, "day after tomorrow": 2, "tomorrow": 1,
    "tomorow": 1, "tommorow": 1, "tommorrow": 1, "tmrw": 1, "tmr": 1, "tmw": 1, "2moro": 1,
    "大前天": -3, "前天": -2, "昨天": -1, "昨日": -1, "昨晚": -1, "昨儿": -1, "今天": 0, "今日": 0, "今晚": 0, "今儿": 0, "今早": 0,
    "明天": 1, "明日": 1, "明晚": 1, "明儿": 1, "明早": 1, "后天": 2, "后儿": 2, "后日": 2, "大后天": 3,
}  # fmt: skip
_ORDINAL_ONES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
    "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth")  # fmt: skip
_ORDINALS = {word: number for number, word in enumerate(_ORDINAL_ONES, 1)} | {"twentieth": 20, "thirtieth": 30}
_ORDINALS |= {f"{tens} {word}": number + ones for tens, number in (("twenty", 20), ("thirty", 30)) for word, ones in
              zip(_ORDINAL_ONES[:9], range(1, 10), strict=True)}  # fmt: skip
_HOLIDAYS = {
    "christmas eve": (12, 24), "christmas day": (12, 25), "christmas": (12, 25), "xmas": (12, 25), "boxing day": (12, 26),
    "new year's eve": (12, 31), "new year's day": (1, 1), "圣诞节": (12, 25), "圣诞": (12, 25), "平安夜": (12, 24), "元旦": (1, 1),
    "跨年夜": (12, 31), "国庆节": (10, 1), "劳动节": (5, 1), "情人节": (2, 14), "双十一": (11, 11),
}  # fmt: skip
_HOLIDAY = "|".join(re.escape(word).replace("\\ ", r"\s+").replace("'", "'?") for word in sorted(_HOLIDAYS, key=len, reverse=True))
_BY_LETTERS = {word.replace("'", ""): day for word, day in _HOLIDAYS.items()}
_WORDS = (
    r"(?:an?\s+)?couple(?:\s+of)?"
    r"|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|twenty|thirty|\d{1,3}"
)
_COUNT = r"[一二三四五六七八九十两半几\d]{1,4}"
_N = r"[\d一二三四五六七八九十廿卅]{1,3}"
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = "|".join(sorted(_DAYS, key=len, reverse=True))
_SPELLED = "|".join(re.escape(word).replace("\\ ", r"[\s-]") for word in sorted(_ORDINALS, key=len, reverse=True))
_ORDINAL = rf"(?P<day>\d{{1,2}}|(?:{_SPELLED}))(?:\s?(?:st|nd|rd|th))?"
_NTH = rf"(?P<day>\d{{1,2}}\s?(?:st|nd|rd|th)|(?:{_SPELLED}))(?![a-z])"
_GOES_ON = (
    r"(?=\s*(?:$|[^\sa-z])"
    r"|\s+(?:at|to|until|till|of|and|or|in|on|please|is|was|would|will|for|from|by|if|then|thanks|around|between|not|itself|only|latest|instead|rather)(?![a-z]))"
)
"""What follows a day that is written as an ordinal alone: not `the 1st time`."""
_SECOND = rf"(?P<second>\d{{1,2}}|(?:{_SPELLED}))(?:\s?(?:st|nd|rd|th))?"
_YEAR = r"(?:,?\s*(?P<year>(?:19|20)\d\d))?"
_UNIT_DAYS = {"day": 1, "week": 7, "fortnight": 14, "天": 1, "日": 1, "周": 7, "星期": 7, "礼拜": 7}
_PREPOSITION = r"(?<![a-z])(?:on|by|from|since|until|till|before|after|of|dated|the|for)\s+$"


class _Context(NamedTuple):
    today: date
    options: Options


def dates(text: str, at: float, options: Options) -> Iterator[Found]:
    """Yield the days in a plain text; values such as `2026-05-03`. Of a range, both ends are yielded."""
    context = _Context(options.today(at), options)
    found = []
    for expression, read in _FORMS:
        for match in expression.finditer(text):
            day = read(match, context)
            if day is not None:
                found.append((Found(match.start(), match.end(), day.isoformat(), match.group()), read))
    others = [one for one, read in found if read not in _WEEKDAYS]
    yield from others
    days = sorted(one for one, read in found if read in _WEEKDAYS and not _explains(text, one, others))
    for before, one in zip([None, *days], days, strict=False):
        week = before is not None and one.value < before.value and _RANGE.fullmatch(text, before.end, one.start)
        yield one._replace(value=(date.fromisoformat(one.value) + timedelta(days=7)).isoformat()) if week else one
    yield from _ranges(text, context)


def _explains(text: str, one: Found, others: Sequence[Found]) -> bool:
    """Return whether a day of the week stands beside a date that says the same: `Friday, 4 December`, 12月4日(周五)."""
    return any(
        (one.end <= other.start and _BESIDE.fullmatch(text, one.end, other.start))
        or (other.end <= one.start and _BESIDE.fullmatch(text, other.end, one.start))
        for other in others
    )


def _ranges(text: str, context: _Context) -> Iterator[Found]:
    """Yield the ends of ranges that are no date by themselves: the 5th in `Dec 3-5`, the 3rd in `3 to 5 December`, and both in 3号到5号."""
    for expression in _RANGES:
        for match in expression.finditer(text):
            written = match.groupdict()
            month, year = written.get("month"), written.get("year")
            number = _MONTHS.get(month) or _number(month) if month else 0
            for name in ("day", "second"):
                nth = _nth(match[name])
                day = _month_day(nth, context) if not month else _day(int(year), number, nth) if year else _near(number, nth, context)
                if day is not None:
                    yield Found(match.start(name), match.end(name), day.isoformat(), match[name])


def _full(match: re.Match[str], context: _Context) -> date | None:
    written = match["year"]
    if match.re is _DIGITS_ALONE and not context.options.asked:
        return None
    if written in _YEARS:
        year = context.today.year + _YEARS[written]
    elif written.isdigit():
        year = int(written) + (2000 if len(written) == 2 else 0)
    else:
        year = int("".join(str("〇一二三四五六七八九".find(one.replace("零", "〇"))) for one in written))
    return _day(year, _number(match["month"]), _number(match["day"]))


def _numeric(match: re.Match[str], context: _Context) -> date | None:
    """Read 3/4/2026 and, where a date is expected, 3/4."""
    written, year = (int(match["first"]), int(match["second"])), match["year"]
    if not year and not (context.options.asked or re.search(_PREPOSITION, match.string[: match.start()])):
        return None
    day, month = written if context.options.day_first else written[::-1]
    if month > 12:
        day, month = month, day
    if not year:
        return _near(month, day, context)
    return _day(int(year) + (2000 if len(year) == 2 else 0), month, day)


def _named(match: re.Match[str], context: _Context) -> date | None:
    month, day = _MONTHS[match["month"]], _nth(match["day"])
    return _day(int(match["year"]), month, day) if match["year"] else _near(month, day, context)


def _chinese_month(match: re.Match[str], context: _Context) -> date | None:
    return _near(_number(match["month"]), _number(match["day"]), context)


def _shifted_month(match: re.Match[str], context: _Context) -> date | None:
    """Read 下个月5号."""
    first = _months(context.today.replace(day=1), {"上": -1, "下": 1}.get(match["which"], 0))
    return _day(first.year, first.month, _number(match["day"]))


def _day_of_month(match: re.Match[str], context: _Context) -> date | None:
    """Read `the 5th` and, where a date is expected, `5th` and 5号."""
    written = match.group()
    if (written[-1] in "号日" or not written.startswith("the")) and not context.options.asked and "on" not in match.groupdict():
        return None
    return _month_day(_nth(match["day"]), context)


def _month_day(number: int, context: _Context, weekday: int | None = None) -> date | None:
    """Return the preferred day with a number in a month, which is a given day of the week if there is one."""
    first = context.today.replace(day=1)
    near = [_day(month.year, month.month, number) for month in (_months(first, -1), first, _months(first, 1))]
    days = [day for day in near if day]
    return _preferred([day for day in days if day.weekday() == weekday] or days, context)


def _named_weekday(match: re.Match[str], context: _Context) -> date | None:
    """Read `Wednesday the 25th`."""
    return _month_day(_nth(match["day"]), context, _DAYS[match["name"]])


def _of_month(match: re.Match[str], context: _Context) -> date | None:
    """Read `the 5th of next month`; `the month` is the preferred one."""
    if match["which"] == "the":
        return _month_day(_nth(match["day"]), context)
    first = _months(context.today.replace(day=1), {"last": -1, "next": 1}.get(match["which"], 0))
    return _day(first.year, first.month, _nth(match["day"]))


def _end(match: re.Match[str], context: _Context) -> date | None:
    """Read `the end of next month`, `month end` and 月底."""
    which, today = match["which"] or "", context.today
    if match["unit"] in {"year", "年"}:
        return _day(today.year + {"next": 1, "明": 1, "last": -1, "去": -1}.get(which, 0), 12, 31)
    first = _months(today.replace(day=1), {"last": -1, "上": -1, "next": 1, "下": 1}.get(which, 0))
    return first.replace(day=calendar.monthrange(first.year, first.month)[1])


def _beginning(match: re.Match[str], context: _Context) -> date | None:
    """Read `the beginning of next month` and 下个月初."""
    first = context.today.replace(day=1)
    if match["unit"] in {"year", "年"}:
        return _day(first.year + 1, 1, 1)
    return _months(first, 1)


def _next_week(match: re.Match[str], context: _Context) -> date | None:
    """Read `this time next week`."""
    return context.today + timedelta(days=7)


def _holiday(match: re.Match[str], context: _Context) -> date | None:
    return _near(*_BY_LETTERS[" ".join(match["name"].replace("'", "").split())], context)


def _weeks_from(match: re.Match[str], context: _Context) -> date | None:
    """Read `a week from Friday`, `a week tomorrow` and, as the British say it, `Friday week`."""
    name, count = match["name"], match["count"] or "fortnight"
    base = _RELATIVE.get(name, 0) if name not in _DAYS else (_DAYS[name] - context.today.weekday()) % 7 or 7
    return context.today + timedelta(days=base + 7 * ({"week": 1, "fortnight": 2}.get(count) or _number(count)))


def _relative(match: re.Match[str], context: _Context) -> date | None:
    word = " ".join(match["word"].split())
    if word.startswith("day after"):
        return context.today + timedelta(days=2)
    return context.today + timedelta(days=2 + word.count("大") if word.endswith("大后天") else _RELATIVE[word])


def _weekday(match: re.Match[str], context: _Context) -> date | None:
    number, which = _DAYS[match["name"]], match["which"] or ""
    if match["name"] in {"sun", "sat", "wed"} and not (which or context.options.asked or _AMONG_DAYS.search(match.string[: match.start()])):
        return None  # rather the star, or a verb
    monday = context.today - timedelta(days=context.today.weekday())
    if which == "next":
        return monday + timedelta(days=7 + number)
    if which == "this":
        return monday + timedelta(days=number)
    if which in {"last", "past"} or (not which and context.options.prefer == "past"):
        back = (context.today.weekday() - number) % 7
        return context.today - timedelta(days=back or (7 if which else 0))
    return context.today + timedelta(days=(number - context.today.weekday()) % 7)


def _weekday_of_week(match: re.Match[str], context: _Context) -> date | None:
    """Read `Friday next week` and `last week Tuesday`."""
    monday = context.today - timedelta(days=context.today.weekday())
    weeks = {"last": -1, "this": 0, "next": 1}.get(match["which"], 2)
    return monday + timedelta(days=7 * weeks + _DAYS[match["name"]])


def _chinese_weekday(match: re.Match[str], context: _Context) -> date | None:
    number, which = _CHINESE_DAYS[match["name"]], match["which"] or ""
    monday = context.today - timedelta(days=context.today.weekday())
    if which.startswith("上"):
        return monday - timedelta(days=7 * which.count("上") - number)
    if which.startswith("下"):
        return monday + timedelta(days=7 * which.count("下") + number)
    day = monday + timedelta(days=number)
    if not which and context.options.prefer == "past" and day > context.today:
        return day - timedelta(days=7)
    if not which and context.options.prefer == "future" and day < context.today:
        return day + timedelta(days=7)
    return day


def _after(match: re.Match[str], context: _Context) -> date | None:
    """Read `in two weeks` and 三天后."""
    return _moved(match, context, 1)


def _before(match: re.Match[str], context: _Context) -> date | None:
    """Read `two weeks ago` and 三天前."""
    return _moved(match, context, -1)


def _moved(match: re.Match[str], context: _Context, sign: int) -> date | None:
    unit = match["unit"]
    if match["count"] == "半":
        return context.today + timedelta(days=15 * sign) if unit == "月" else None
    count = _number(match["count"])
    if not count or count > 400:
        return None
    if unit in {"month", "月"}:
        return _months(context.today, sign * count)
    return context.today + timedelta(days=sign * count * _UNIT_DAYS[unit])


def _number(written: str) -> int:
    """Return the number that is written in digits, English or Chinese words; 0 if there is none."""
    if written.isdigit() and written.isascii():
        return int(written)
    if "couple" in written:
        return 2
    value = 1 if written in {"a", "an"} else english(written) if written.isascii() else _whole(written)
    return value or 0


def _nth(written: str) -> int:
    """Return the number of an ordinal in digits, English or Chinese words; 0 if there is none."""
    digits = re.match(r"\d+", written)
    return int(digits.group()) if digits else _ORDINALS.get(" ".join(re.split(r"[\s-]+", written))) or _number(written)


def _whole(written: str) -> int:
    value = None if re.search(r"[^零〇一二三四五六七八九十两廿卅\d]", written) else chinese(written)
    return int(value or 0)


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _near(month: int, day: int, context: _Context) -> date | None:
    """Return the day in the year that is meant; the 29th of February in the next or last year that has one."""
    years = sorted(range(context.today.year - 4, context.today.year + 5))
    return _preferred([found for year in years if (found := _day(year, month, day))], context)


def _preferred(days: list[date], context: _Context) -> date | None:
    today, prefer = context.today, context.options.prefer
    fitting = [day for day in days if prefer == "nearest" or day == today or (day < today) == (prefer == "past")]
    return min(fitting, key=lambda day: (abs(day - today), day < today), default=None)


def _months(day: date, count: int) -> date:
    """Return the same day some months later, or the last one of that month if it is shorter."""
    years, month = divmod(day.year * 12 + day.month - 1 + count, 12)
    return date(years, month + 1, min(day.day, calendar.monthrange(years, month + 1)[1]))


def _form(expression: str) -> re.Pattern[str]:
    return re.compile(expression)


_YEARS = {"前年": -2, "去年": -1, "今年": 0, "明年": 1, "后年": 2}
_DIGITS_ALONE = _form(r"(?<![\d.-])(?P<year>20\d\d)(?P<month>0[1-9]|1[0-2])(?P<day>[0-3]\d)(?![\d-])")
_AMONG_DAYS = re.compile(rf"(?:(?<![a-z])(?:{_DAY})\s*(?:or|and|to|-|/|,)|(?<![a-z])(?:on|by|until|till|before))\s*$")
_RANGE = re.compile(r"\s*(?:[-–~—到至]|to|through|until)\s*")
_BESIDE = re.compile(r"[\s,(（]*(?:(?:on|the)\s+)?")
_WEEKDAYS: frozenset[object] = frozenset({_weekday, _chinese_weekday})
_RANGES = (
    _form(rf"(?<![a-z])(?P<month>{_MONTH})\.?\s+(?:the\s+)?{_ORDINAL}\s*(?:to|-|–|until|till|through|and|or)\s*(?:the\s+)?{_SECOND}(?![a-z\d:]|\s?(?:{_MONTH})){_YEAR}"),
    _form(rf"(?<![\w.])(?:the\s+)?{_ORDINAL}\s*(?:to|-|–|until|till|through|and|or)\s*(?:the\s+)?{_SECOND}\s?(?:of\s+)?(?P<month>{_MONTH})\.?(?![a-z]){_YEAR}"),
    _form(rf"(?P<month>{_N})\s?月\s?(?P<day>{_N})\s?[日号]?\s*(?:到|至|-|~|—|或者?|和)\s*(?P<second>{_N})\s?[日号](?![楼线店门院座])"),
    _form(rf"(?<![月\d一二三四五六七八九十.-])(?P<day>{_N})\s?[日号]?\s*(?:到|至|-|~|—)\s*(?P<second>{_N})\s?[日号](?![楼线店门院座])"),
)  # fmt: skip
_FORMS: list[tuple[re.Pattern[str], Callable[[re.Match[str], _Context], date | None]]] = [
    (_form(r"(?<![\d.])(?P<year>(?:19|20)\d\d)[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?!\d)"), _full),
    (
        _form(
            rf"(?P<year>(?:19|20)\d\d|[一二][〇零一二三四五六七八九]{{3}})\s?年\s?(?P<month>{_N})\s?月\s?"
            rf"(?P<day>{_N})\s?[日号]?"
        ),
        _full,
    ),
    (_form(r"(?<![\d./-])(?P<first>\d{1,2})(?P<mark>[/.-])(?P<second>\d{1,2})(?P=mark)(?P<year>(?:19|20)?\d\d)(?![\d/-])"), _numeric),
    (_form(r"(?<![\d./-])(?!24/7)(?P<first>\d{1,2})/(?P<second>\d{1,2})(?P<year>)(?![\d/-])"), _numeric),
    (_form(rf"(?<![\w.])(?:the\s+)?{_ORDINAL}\s?(?:of\s+)?(?P<month>{_MONTH})\.?(?![a-z]){_YEAR}(?!\d)"), _named),
    (_form(rf"(?<![a-z])(?<!\bi )(?<!you )(?<!we )(?P<month>{_MONTH})\.?\s+(?:the\s+)?{_ORDINAL}(?![a-z\d:]){_YEAR}(?!\d)"), _named),
    (_form(rf"(?<!\d)(?P<year>\d\d|前年|去年|今年|明年|后年)(?:(?<=\d)\s?年|的)?\s?(?P<month>{_N})\s?月\s?(?P<day>{_N})\s?[日号]?"), _full),
    (_DIGITS_ALONE, _full),
    (_form(rf"(?<![年\d一二三四五六七八九十廿卅])(?P<month>{_N})\s?月\s?(?P<day>{_N})\s?[日号]?"), _chinese_month),
    (_form(rf"(?P<which>上|下|这|本)个?月\s?(?P<day>{_N})\s?[日号]"), _shifted_month),
    (_form(r"(?:下个?(?=月)|明(?=年))(?P<unit>月|年)初"), _beginning),
    (_form(r"(?P<which>上|下|这|本)?个?(?P<unit>月)[底末](?!线)"), _end),
    (_form(r"(?P<which>明|今|去)?(?P<unit>年)[底末](?!线)"), _end),
    (
        _form(
            r"(?<![a-z])(?:the\s+)?(?:end|last\s+day)\s+of\s+(?:the\s+)?(?:(?P<which>this|next|last)\s+)?(?P<unit>month|year)(?![a-z])"
        ),
        _end,
    ),
    (_form(r"(?<![a-z])(?:the\s+)?(?:(?P<which>this|next|last)\s+)?(?P<unit>month|year)[\s-]end(?![a-z])"), _end),
    (_form(r"(?<![a-z])(?:the\s+)?(?:beginning|start)\s+of\s+next\s+(?P<unit>month|year)(?![a-z])"), _beginning),
    (_form(r"(?<![a-z])(?:at\s+)?(?:this|the\s+same)\s+time,?\s+next\s+week(?![a-z])"), _next_week),
    (_form(rf"(?<![a-z])(?:the\s+)?{_NTH}\s+of\s+(?P<which>this|next|last|the)\s+month(?![a-z])"), _of_month),
    (_form(rf"(?<![a-z])(?P<which>this|next|last)\s+month,?\s+on\s+the\s+{_NTH}"), _of_month),
    (
        _form(
            rf"(?<![a-z])(?P<name>{_DAY}),?\s+(?:the\s+)?(?P<day>\d{{1,2}}(?:st|nd|rd|th))(?![a-z])(?!\s+(?:of\s+)?(?:{_MONTH}))"
        ),
        _named_weekday,
    ),
    (_form(rf"(?<![a-z])(?:the\s+)?(?P<day>\d{{1,2}}\s?(?:st|nd|rd|th))(?![a-z]){_GOES_ON}"), _day_of_month),
    (_form(rf"(?P<on>[在于到])(?P<day>{_N})\s?[日号](?![楼线店门院座机卡桌馆厅柜铺库码仓口站])"), _day_of_month),
    (_form(rf"(?<![a-z])(?P<on>on|by|until|till|before|from|since)\s+the\s+(?P<day>{_SPELLED})(?![a-z]){_GOES_ON}"), _day_of_month),
    (_form(rf"(?<![a-z])(?<!merry )(?P<name>{_HOLIDAY})(?![a-z])"), _holiday),
    (
        _form(
            rf"(?<![a-z])(?:(?P<count>{_WORDS})\s+weeks?|(?P<fortnight>a\s+fortnight))\s+(?:from\s+|after\s+|on\s+)?(?:this\s+)?(?P<name>{_DAY}|today|tomorrow)"
            r"(?![a-z])"
        ),
        _weeks_from,
    ),
    (_form(rf"(?<![a-z])(?<!next )(?<!last )(?<!this )(?P<name>{_DAY}|today|tomorrow)\s+(?P<count>week|fortnight)(?![a-z])"), _weeks_from),
    (_form(rf"(?P<count>(?<=过)(?<![超经不通]过){_COUNT})\s?个?(?P<unit>天|日|周|星期|礼拜|月)(?!了|前|后)"), _after),
    (_form(rf"(?<![月\d一二三四五六七八九十廿卅第])(?P<day>{_N})\s?[日号](?![楼线店门院座机卡])"), _day_of_month),
    (
        _form(
            r"(?<![a-z])(?:the\s+)?(?P<word>day\s+(?:before\s+yesterday|after\s+(?:tomorrow|tomorow|tommorr?ow|tmrw|tmr|tmw|2moro))|yesterday|today|tonight|tomorrow|tomorow|tommorr?ow|tmrw|tmr|tmw|2moro)(?![a-z])"
        ),
        _relative,
    ),
    (_form(r"(?P<word>大前天|大+后天|前天|后天(?![性形])|后[儿日]|昨[天日晚儿]|今[天日晚儿早]|明[天日晚儿早])"), _relative),
    (_form(rf"(?<![a-z])(?P<name>{_DAY})\s+(?:of\s+)?(?P<which>this|next|last)\s+week(?![a-z])"), _weekday_of_week),
    (_form(rf"(?<![a-z])(?P<which>this|next|last)\s+week,?\s+(?:on\s+)?(?P<name>{_DAY})(?![a-z])"), _weekday_of_week),
    (_form(rf"(?<![a-z])(?:the\s+)?week\s+(?P<which>after\s+next),?\s+(?:on\s+)?(?P<name>{_DAY})(?![a-z])"), _weekday_of_week),
    (_form(rf"(?<![a-z])(?P<name>{_DAY})\s+(?:of\s+|in\s+)?the\s+week\s+(?P<which>after\s+next)(?![a-z])"), _weekday_of_week),
    (_form(rf"(?<![a-z])(?:(?P<which>this|next|last|past|coming)\s+)?(?P<name>{_DAY})(?![a-z])(?!\s+after\s+next)"), _weekday),
    (_form(r"(?P<which>上+|下+|这|本)?个?(?<!每)(?:周|星期|礼拜)(?P<name>[一二三四五六日天末1-7])(?![天个年月愉快次\d.])"),
     _chinese_weekday),
    (
        _form(
            rf"(?<![a-z\d])(?:in\s+(?P<count>{_WORDS})\s+(?P<unit>day|week|month|fortnight)s?(?:['’]?\s+time)?)(?![a-z])"
        ),
        _after,
    ),
    (_form(rf"(?<![a-z\d])(?P<count>{_WORDS})\s+(?P<unit>day|week|month|fortnight)s?\s+(?:from\s+(?:now|today)|later)(?![a-z])"), _after),
    (_form(rf"(?<![a-z\d])(?P<count>{_WORDS})\s+(?P<unit>day|week|month|fortnight)s?\s+(?:ago|back)(?![a-z])"), _before),
    (_form(rf"(?P<count>{_COUNT})\s?个?(?P<unit>天|日|周|星期|礼拜|月)(?:以|之)?后"), _after),
    (_form(rf"(?P<count>{_COUNT})\s?个?(?P<unit>天|日|周|星期|礼拜|月)(?:以|之)?前"), _before),
]  # fmt: skip
"""How days are written; the form of most characters at a place wins."""
