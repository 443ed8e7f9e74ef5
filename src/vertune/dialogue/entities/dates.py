"""Finds days in texts, absolute and relative to today, in English and Chinese; knows nothing of hours.

`next Friday` and 下周五 are the Friday of the next calendar week, which begins on a Monday; `last Friday` is the one before today.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

from vertune.dialogue.entities.found import Found, Options
from vertune.dialogue.entities.numerals import chinese, english

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_MONTHS |= {name[:3]: number for name, number in _MONTHS.items()} | {"sept": 9}
_DAYS = {name.lower(): number for number, name in enumerate(calendar.day_name)}
_DAYS |= {name[:3]: number for name, number in _DAYS.items()} | {"tues": 1, "thur": 3, "thurs": 3}
_CHINESE_DAYS = {**{character: number for number, character in enumerate("一二三四五六日")}, "天": 6, "末": 5}
_RELATIVE = {
    "day before yesterday": -2, "yesterday": -1, "today": 0, "tonight": 0, "day after tomorrow": 2, "tomorrow": 1,
    "大前天": -3, "前天": -2, "昨天": -1, "昨日": -1, "昨晚": -1, "今天": 0, "今日": 0, "今晚": 0, "明天": 1, "明日": 1, "明晚": 1,
    "后天": 2, "大后天": 3,
}  # fmt: skip
_WORDS = r"an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|twenty|thirty|\d{1,3}"
_COUNT = r"[一二三四五六七八九十两半几\d]{1,4}"
_N = r"[\d一二三四五六七八九十]{1,3}"
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = "|".join(sorted(_DAYS, key=len, reverse=True))
_ORDINAL = r"(?P<day>\d{1,2})(?:\s?(?:st|nd|rd|th))?"
_YEAR = r"(?:,?\s*(?P<year>(?:19|20)\d\d))?"
_UNIT_DAYS = {"day": 1, "week": 7, "fortnight": 14, "天": 1, "日": 1, "周": 7, "星期": 7, "礼拜": 7}
_PREPOSITION = r"(?<![a-z])(?:on|by|from|since|until|till|before|after|of|dated|the)\s+$"


class _Context(NamedTuple):
    today: date
    options: Options


def dates(text: str, at: float, options: Options) -> Iterator[Found]:
    """Yield the days in a plain text; values such as `2026-05-03`."""
    context = _Context(options.today(at), options)
    for expression, read in _FORMS:
        for match in expression.finditer(text):
            day = read(match, context)
            if day is not None:
                yield Found(match.start(), match.end(), day.isoformat(), match.group())


def _full(match: re.Match[str], _: _Context) -> date | None:
    year = (
        match["year"]
        if match["year"].isdigit()
        else "".join(str("〇一二三四五六七八九".find(one.replace("零", "〇"))) for one in match["year"])
    )
    return _day(int(year), _number(match["month"]), _number(match["day"]))


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
    month, day = _MONTHS[match["month"]], int(match["day"])
    return _day(int(match["year"]), month, day) if match["year"] else _near(month, day, context)


def _chinese_month(match: re.Match[str], context: _Context) -> date | None:
    return _near(_number(match["month"]), _number(match["day"]), context)


def _shifted_month(match: re.Match[str], context: _Context) -> date | None:
    """Read 下个月5号."""
    first = _months(context.today.replace(day=1), {"上": -1, "下": 1}.get(match["which"], 0))
    return _day(first.year, first.month, _number(match["day"]))


def _day_of_month(match: re.Match[str], context: _Context) -> date | None:
    """Read `the 5th` and, where a date is expected, 5号."""
    if match.string[match.end() - 1] in "号日" and not context.options.asked:
        return None
    number, first = _number(match["day"]), context.today.replace(day=1)
    near = [_day(month.year, month.month, number) for month in (_months(first, -1), first, _months(first, 1))]
    return _preferred([day for day in near if day], context)


def _relative(match: re.Match[str], context: _Context) -> date | None:
    return context.today + timedelta(days=_RELATIVE[" ".join(match["word"].split())])


def _weekday(match: re.Match[str], context: _Context) -> date | None:
    number, which = _DAYS[match["name"]], match["which"] or ""
    if match["name"] in {"sun", "sat", "wed"} and not which and not context.options.asked:
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
    value = 1 if written in {"a", "an"} else english(written) if written.isascii() else _whole(written)
    return value or 0


def _whole(written: str) -> int:
    value = None if re.search(r"[^零〇一二三四五六七八九十两\d]", written) else chinese(written)
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
    (_form(rf"(?<![年\d一二三四五六七八九十])(?P<month>{_N})\s?月\s?(?P<day>{_N})\s?[日号]?"), _chinese_month),
    (_form(rf"(?P<which>上|下|这|本)个?月\s?(?P<day>{_N})\s?[日号]"), _shifted_month),
    (_form(r"(?<![a-z])the\s+(?P<day>\d{1,2})\s?(?:st|nd|rd|th)(?![a-z])"), _day_of_month),
    (_form(rf"(?<![月\d一二三四五六七八九十])(?P<day>{_N})\s?[日号]"), _day_of_month),
    (
        _form(
            r"(?<![a-z])(?:the\s+)?(?P<word>day\s+(?:before\s+yesterday|after\s+tomorrow)|yesterday|today|tonight|tomorrow)(?![a-z])"
        ),
        _relative,
    ),
    (_form(r"(?P<word>大前天|大后天|前天|后天|昨天|昨日|昨晚|今天|今日|今晚|明天|明日|明晚)"), _relative),
    (_form(rf"(?<![a-z])(?:(?P<which>this|next|last|past|coming)\s+)?(?P<name>{_DAY})(?![a-z])"), _weekday),
    (_form(r"(?P<which>上+|下+|这|本)?个?(?:周|星期|礼拜)(?P<name>[一二三四五六日天末])(?![天个年月])"), _chinese_weekday),
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
