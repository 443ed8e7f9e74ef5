"""Typed details: what people write, in two languages, against the normal form that is meant."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.dialogue.characters import plain
from vertune.dialogue.entities import KINDS, Options, find, same, show
from vertune.dialogue.entities.choices import is_near
from vertune.dialogue.flows import Option

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()  # a Sunday
TODAY = date(2026, 11, 29)


def values(kind: str, text: str, **options: Any) -> list[Any]:
    return [found.value for found in find(kind, text, NOW, Options(**options))]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("on 3 May", "2027-05-03"),
        ("May 5th, 2025", "2025-05-05"),
        ("the 3rd of January 2027", "2027-01-03"),
        ("the day before yesterday", "2026-11-27"),
        ("the day after tomorrow", "2026-12-01"),
        ("next Friday", "2026-12-04"),
        ("last Friday", "2026-11-27"),
        ("this Wednesday", "2026-11-25"),
        ("in two weeks", "2026-12-13"),
        ("in 3 weeks' time", "2026-12-20"),
        ("a month ago", "2026-10-29"),
        ("3/4/2026", "2026-04-03"),
        ("13/4/26", "2026-04-13"),
        ("on 3/4", "2027-04-03"),
        ("the 5th", "2026-12-05"),
        ("29 feb", "2028-02-29"),
        ("二〇二六年五月三号", "2026-05-03"),
        ("２０２６年５月３日", "2026-05-03"),
        ("5月6日", "2027-05-06"),
        ("十二月二十五日", "2026-12-25"),
        ("下个月5号", "2026-12-05"),
        ("下周五", "2026-12-04"),
        ("上上週三", "2026-11-11"),
        ("三天后", "2026-12-02"),
        ("半个月前", "2026-11-14"),
        ("大后天", "2026-12-02"),
    ],
)
def test_days_are_read_as_people_write_them(text: str, day: str) -> None:
    assert values("date", f"please, {text}, thanks") == [day]


@pytest.mark.parametrize("text", ["open 24/7", "I may 5 times", "31 April 2026", "at 1.5 percent", "版本 2.3.4", "version 2026"])
def test_what_is_no_day_is_none(text: str) -> None:
    assert values("date", text) == []


@settings(deadline=None)
@given(st.dates(date(1901, 1, 1), date(2099, 12, 31)))
def test_every_day_is_read_in_every_form(day: date) -> None:
    forms = [day.isoformat(), f"{day.day} {day:%B %Y}", f"{day:%b} {day.day}, {day.year}", f"{day:%d/%m/%Y}"]
    forms += [f"{day.year}年{day.month}月{day.day}日", f"{day.year}/{day.month}/{day.day}", show("date", day.isoformat(), "zh")]
    assert [values("date", form) for form in forms] == [[day.isoformat()]] * len(forms)
    assert values("date", f"{day:%m/%d/%Y}", day_first=False) == [day.isoformat()]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 28))
def test_a_day_without_a_year_is_in_the_direction_that_is_preferred(month: int, number: int) -> None:
    text = f"on {number} {date(2000, month, 1):%B}"
    past, future, nearest = (date.fromisoformat(values("date", text, prefer=prefer)[0]) for prefer in ("past", "future", "nearest"))
    assert (past.month, past.day) == (future.month, future.day) == (nearest.month, nearest.day) == (month, number)
    assert past <= TODAY <= future
    assert abs(nearest - TODAY) == min(abs(past - TODAY), abs(future - TODAY)) <= timedelta(days=183)


def test_tomorrow_depends_on_the_time_zone() -> None:
    late = datetime(2026, 11, 29, 20, tzinfo=UTC).timestamp()
    assert [find("date", "tomorrow", late, Options(timezone=zone))[0].value for zone in ("UTC", "Asia/Shanghai")] == [
        "2026-11-30",
        "2026-12-01",
    ]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("3pm", "15:00"),
        ("3:30 p.m.", "15:30"),
        ("15:45", "15:45"),
        ("12 am", "00:00"),
        ("12 pm", "12:00"),
        ("half past three", "03:30"),
        ("quarter to five pm", "16:45"),
        ("ten past 9", "09:10"),
        ("7 in the evening", "19:00"),
        ("noon", "12:00"),
        ("five o'clock", "05:00"),
        ("下午三点半", "15:30"),
        ("15点30分", "15:30"),
        ("晚上八點", "20:00"),
        ("3点一刻", "03:15"),
        ("凌晨12点", "00:00"),
        ("中午12点", "12:00"),
        ("上午九点零五分", "09:05"),
    ],
)
def test_times_are_read_as_people_write_them(text: str, time: str) -> None:
    assert values("time", f"call me {text}") == [time]


@settings(deadline=None)
@given(st.times())
def test_every_time_is_read(time: Any) -> None:
    clock = f"{time.hour:02}:{time.minute:02}"
    half = f"{time.hour % 12 or 12}:{time.minute:02} {'pm' if time.hour > 11 else 'am'}"
    assert values("time", clock) == values("time", half) == values("time", f"{time.hour}点{time.minute}分") == [clock]


@pytest.mark.parametrize("text", ["有一点慢", "便宜一点", "13pm", "25:00", "at 3", "1:5 ratio"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert values("time", text) == []


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$50", "50.00 USD"),
        ("50 dollars and 20 cents", "50.20 USD"),
        ("€1,234.50", "1234.50 EUR"),
        ("three hundred pounds", "300.00 GBP"),
        ("2k usd", "2000.00 USD"),
        ("GBP 30", "30.00 GBP"),
        ("50块5", "50.50 CNY"),
        ("三十五块五毛二分", "35.52 CNY"),
        ("3毛", "0.30 CNY"),
        ("1.5万元", "15000.00 CNY"),
        ("人民币200元", "200.00 CNY"),
        ("五百塊錢", "500.00 CNY"),
        ("￥99", "99.00 CNY"),
        ("HK$20", "20.00 HKD"),
        ("100美元", "100.00 USD"),
    ],
)
def test_amounts_are_read_with_their_currency(text: str, amount: str) -> None:
    assert values("amount", f"I paid {text} for it") == [amount]


@settings(deadline=None)
@given(st.decimals(0, 10**9, places=2, allow_nan=False), st.sampled_from([("$", "USD"), ("£", "GBP"), ("€", "EUR"), ("¥", "CNY")]))
def test_every_amount_is_read_and_shown_so_that_it_is_read_again(amount: Any, currency: tuple[str, str]) -> None:
    value = values("amount", f"{currency[0]}{amount}")
    assert value == [f"{amount:.2f} {currency[1]}"]
    assert values("amount", show("amount", value[0], "en")) == value


def test_an_amount_without_a_currency_is_read_only_from_a_reply() -> None:
    assert values("amount", "12 apples", currency="EUR") == []
    assert values("amount", "fifty", currency="EUR", asked=True) == ["50.00 EUR"]
    assert values("amount", "一百二", asked=True) == ["120.00"]


def test_dollars_are_those_of_the_slot() -> None:
    assert values("amount", "20 dollars", currency="AUD") == values("amount", "$20", currency="AUD") == ["20.00 AUD"]
    assert values("amount", "US$20", currency="AUD") == ["20.00 USD"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("about 12 items", [12]), ("two hundred", [200]), ("-5 degrees", [-5]), ("2.5", [2.5]), ("三个", [3]), ("等一下", []), ("万一", [])],
)
def test_numbers_are_read(text: str, found: list[float]) -> None:
    assert values("number", text) == found


@pytest.mark.parametrize(
    "text",
    [
        "my card ending in 4821", "the last four digits are 4 8 2 1", "it ends with four eight two one", "尾号是4821", "后四位四八二一",
        "4821结尾的卡", "4111 1111 1111 4821", "****4821", "尾號４８２１",
    ],
)  # fmt: skip
def test_the_end_of_a_card_is_read(text: str) -> None:
    assert values("card_ending", text) == ["4821"]


def test_four_digits_are_the_end_of_a_card_only_in_a_reply() -> None:
    assert values("card_ending", "it was 2026") == []
    assert values("card_ending", "the 4821 one", asked=True) == values("card_ending", "四八二一", asked=True) == ["4821"]
    assert values("card_ending", "48215", asked=True) == []


def test_no_more_than_four_digits_of_a_card_are_kept() -> None:
    assert all("4111" not in str(found.value) for found in find("card_ending", "4111111111114821", NOW, Options(asked=True)))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("my order AB-123456 is late", "AB-123456"),
        ("order number: 12345678", "12345678"),
        ("订单号是a12345678", "A12345678"),
        ("#998877", "998877"),
    ],
)
def test_order_numbers_are_read_behind_their_words(text: str, number: str) -> None:
    assert values("order_number", text) == [number]


def test_a_pattern_finds_order_numbers_anywhere() -> None:
    assert values("order_number", "where is sh123456, sh1234567?", pattern=r"SH\d{6}") == ["SH123456"]
    assert values("order_number", "my order 12345678", pattern=r"SH\d{6}") == []


@pytest.mark.parametrize(
    ("text", "number"),
    [("+44 20 7946 0958", "+442079460958"), ("我的手机是１３８ １２３４ ５６７８", "+8613812345678"), ("(212) 736-5000", "+12127365000")],
)
def test_telephone_numbers_are_international(text: str, number: str) -> None:
    assert values("phone", text) == [number]


def test_mail_addresses_are_in_lower_case() -> None:
    assert values("mail", "Write to Ann.Lee@Example.co.uk now") == ["ann.lee@example.co.uk"]


@pytest.mark.parametrize("text", ["yes", "Yes please", "sure, go ahead", "好的", "是的，没错", "嗯，确认", "我要", "没问题", "對"])
def test_yes_is_yes(text: str) -> None:
    assert values("yes_no", text) == [True]


@pytest.mark.parametrize("text", ["no", "No, not that", "nope", "不", "不对", "不要", "我不要", "先不", "不用了"])
def test_no_is_no(text: str) -> None:
    assert values("yes_no", text) == [False]


@pytest.mark.parametrize("text", ["银行卡", "I don't know", "not sure", "行不行", "right now", "他需要时间", "不知道", "what?"])
def test_neither_yes_nor_no_is_nothing(text: str) -> None:
    assert values("yes_no", text) == []


CHOICES = [
    Option(value="lost", title={"en": "lost", "zh": "丢失"}, words={"en": ["can't find it", "misplaced"], "zh": ["找不到"]}),
    Option(value="stolen", title={"en": "Stolen", "zh": "被盗"}),
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I’ve misplaced it", ["lost"]), ("can't  find it", ["lost"]), ("it was stollen", ["stolen"]), ("找不到了", ["lost"]),
        ("lost or stolen", ["lost", "stolen"]), ("almost", []), ("被盜", []),
    ],
)  # fmt: skip
def test_choices_are_found_by_their_words_and_with_one_error(text: str, found: list[str]) -> None:
    assert values("choice", text, choices=CHOICES) == found


@settings(deadline=None)
@given(st.text("abcdef", min_size=1, max_size=8), st.text("abcdef", min_size=1, max_size=8))
def test_one_typing_error_is_a_distance_of_one(one: str, other: str) -> None:
    """The oracle lists all words that are one edit away."""
    letters, places = "abcdef", range(len(one) + 1)
    edits = {one[:p] + one[p + 1 :] for p in places} | {one[:p] + c + one[p:] for p in places for c in letters}
    edits |= {one[:p] + c + one[p + 1 :] for p in places[:-1] for c in letters} | {
        one[:p] + one[p + 1] + one[p] + one[p + 2 :] for p in places[:-2]
    }
    assert is_near(one, other) == (other in edits - {one})


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.text(max_size=80), st.booleans())
def test_details_of_any_text_are_places_in_it(kind: str, text: str, asked: bool) -> None:
    found = find(kind, text, NOW, Options(choices=CHOICES, asked=asked, currency="USD"))
    assert all(text[one.start : one.end] == one.raw and one.raw for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


@settings(deadline=None)
@given(st.text(max_size=200))
def test_plain_characters_stay_in_their_places(text: str) -> None:
    assert len(plain(text)) == len(text)
    assert plain(plain(text)) == plain(text)


def test_a_flood_of_characters_is_read_quickly() -> None:
    for kind in KINDS:
        for flood in ("1" * 3_000, "1 " * 2_000, "一" * 3_000, "a@" * 2_000, "one " * 900, "no, not " * 400, "(" * 3_000):
            assert len(find(kind, flood, NOW)) <= 2_000


@pytest.mark.parametrize(
    ("expected", "value", "equal"),
    [
        (250, "250.00 USD", True),
        (250, "25.00 USD", False),
        ("sh1", "SH1", True),
        (True, True, True),
        (True, "True", False),
        ("0012", "12", False),
    ],
)
def test_values_are_the_same_in_any_form(expected: Any, value: Any, equal: bool) -> None:
    assert same(expected, value) is equal
