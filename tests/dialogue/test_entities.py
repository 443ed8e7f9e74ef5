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
        ("tmrw", "2026-11-30"),
        ("明儿", "2026-11-30"),
        ("December the twenty-first", "2026-12-21"),
        ("the third of December", "2026-12-03"),
        ("on the twenty first", "2026-11-21"),
        ("the first of next month", "2026-12-01"),
        ("next month on the 5th", "2026-12-05"),
        ("in a couple of days", "2026-12-01"),
        ("a couple of days ago", "2026-11-27"),
        ("a week from Friday", "2026-12-11"),
        ("a week tomorrow", "2026-12-07"),
        ("at the end of the month", "2026-11-30"),
        ("下个月底", "2026-12-31"),
        ("年底", "2026-12-31"),
        ("on Christmas Day", "2026-12-25"),
        ("元旦", "2027-01-01"),
        ("明年三月五号", "2027-03-05"),
        ("26年12月1日", "2026-12-01"),
        ("过两天", "2026-12-01"),
        ("Friday, 4 December", "2026-12-04"),
        ("12月4日（周五）", "2026-12-04"),
        ("Wednesday the 25th", "2026-11-25"),
        ("Friday next week", "2026-12-04"),
        ("last week Tuesday", "2026-11-17"),
        ("Tuesday week", "2026-12-08"),
        ("thursday fortnight", "2026-12-17"),
        ("sunday week", "2026-12-13"),
        ("a fortnight on monday", "2026-12-14"),
        ("the week after next on friday", "2026-12-11"),
        ("Friday of the week after next", "2026-12-11"),
        ("the day after tmrw", "2026-12-01"),
        ("大大后天", "2026-12-03"),
        ("on the 28th itself", "2026-11-28"),
        ("this time next week", "2026-12-06"),
        ("the last day of the month", "2026-11-30"),
        ("month end", "2026-11-30"),
        ("at the beginning of next month", "2026-12-01"),
        ("下个月初", "2026-12-01"),
        ("new years eve", "2026-12-31"),
        ("在3号", "2026-12-03"),
        ("十二月廿五号", "2026-12-25"),
        ("周5", "2026-11-27"),
    ],
)
def test_days_are_read_as_people_write_them(text: str, day: str) -> None:
    assert values("date", f"please, {text}, thanks") == [day]


@pytest.mark.parametrize("text", ["open 24/7", "I may 5 times", "31 April 2026", "at 1.5 percent", "版本 2.3.4", "version 2026"])
def test_what_is_no_day_is_none(text: str) -> None:
    assert values("date", text) == []


@pytest.mark.parametrize(
    "text",
    [
        "this is the 1st time",
        "the second card",
        "on the first page",
        "坐3号线",
        "5号楼",
        "周末愉快",
        "后天性的",
        "Merry Christmas",
        "在3号楼",
        "friday after next",
    ],
)
def test_ordinals_and_wishes_are_no_days(text: str) -> None:
    assert values("date", text) == values("date", text, asked=True) == []


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("Dec 3-5", ["2026-12-03", "2026-12-05"]),
        ("between 3 and 5 December", ["2026-12-03", "2026-12-05"]),
        ("3rd to 5th december 2027", ["2027-12-03", "2027-12-05"]),
        ("from the 3rd to the 5th", ["2026-12-03", "2026-12-05"]),
        ("12月3日至5日", ["2026-12-03", "2026-12-05"]),
        ("12月3-5号", ["2026-12-03", "2026-12-05"]),
        ("3号到5号", ["2026-12-03", "2026-12-05"]),
        ("fri or sat", ["2026-12-04", "2026-12-05"]),
        ("3号楼到5号楼", []),
        ("Mon-Wed", ["2026-11-30", "2026-12-02"]),
        ("下周六至周一", ["2026-12-05", "2026-12-07"]),
        ("超过7天", []),
        ("每周3次", []),
    ],
)
def test_both_ends_of_a_range_are_days(text: str, days: list[str]) -> None:
    assert values("date", text, prefer="future") == days


@pytest.mark.parametrize(
    ("text", "day"),
    [("3rd", "2026-12-03"), ("20261201", "2026-12-01"), ("3号", "2026-12-03"), ("12/25", "2026-12-25"), ("廿五号", "2026-12-25")],
)
def test_short_days_are_read_only_from_a_reply(text: str, day: str) -> None:
    assert values("date", text) == []
    assert values("date", text, asked=True, prefer="future") == [day]


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


def test_the_first_of_the_month_is_in_the_direction_that_is_preferred() -> None:
    days = [values("date", "the first of the month", prefer=prefer) for prefer in ("past", "future")]
    assert days == [["2026-11-01"], ["2026-12-01"]]


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
        ("ten thirty am", "10:30"),
        ("at 7 tonight", "19:00"),
        ("at 9 tomorrow morning", "09:00"),
        ("at 5:15 this afternoon", "17:15"),
        ("half seven pm", "19:30"),
        ("14h30", "14:30"),
        ("晚上12点", "00:00"),
        ("明晚七点", "19:00"),
        ("半夜十二点", "00:00"),
        ("夜里两点", "02:00"),
        ("深夜11点半", "23:30"),
        ("差五分八点", "07:55"),
        ("下午三点差一刻", "14:45"),
        ("差10分钟到9点", "08:50"),
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


@pytest.mark.parametrize("text", ["有一点慢", "便宜一点", "13pm", "25:00", "at 3", "1:5 ratio", "我有两点建议", "第三点", "3 am I right"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert values("time", text) == []


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("9am-5pm", ["09:00", "17:00"]),
        ("上午十点到下午两点", ["10:00", "14:00"]),
        ("下午2:00-4:00", ["14:00", "16:00"]),
        ("between 2 and 4pm", ["14:00", "16:00"]),
        ("2 and 4pm", ["16:00"]),
        ("the 9-17 shift", []),
    ],
)
def test_both_ends_of_a_range_are_times(text: str, times: list[str]) -> None:
    assert values("time", text) == times


def test_the_day_in_front_of_a_time_is_found_beside_it() -> None:
    for text in ("明晚七点", "7 tomorrow night"):
        (day,), (time,) = find("date", text, NOW), find("time", text, NOW)
        assert (day.value, time.value) == ("2026-11-30", "19:00")
        assert day.end <= time.start or time.end <= day.start


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
        ("$.50", "0.50 USD"),
        ("$1.2 million", "1200000.00 USD"),
        ("half a million dollars", "500000.00 USD"),
        ("two and a half dollars", "2.50 USD"),
        ("a couple hundred dollars", "200.00 USD"),
        ("two dollars and fifty cents", "2.50 USD"),
        ("a dollar fifty", "1.50 USD"),
        ("fifty cents", "0.50 USD"),
        ("half a dollar", "0.50 USD"),
        ("99p", "0.99 GBP"),
        ("RMB 300", "300.00 CNY"),
        ("港币300", "300.00 HKD"),
        ("500刀", "500.00 USD"),
        ("5w块", "50000.00 CNY"),
        ("1 000元", "1000.00 CNY"),
        ("三块八毛五", "3.85 CNY"),
        ("二十块零五毛", "20.50 CNY"),
        ("一块半", "1.50 CNY"),
        ("两毛五", "0.25 CNY"),
        ("廿五元", "25.00 CNY"),
        ("Rs. 1,50,000", "150000.00 INR"),
        ("1.5 lakh rupees", "150000.00 INR"),
        ("two crore rs", "20000000.00 INR"),
        ("1.200,50 €", "1200.50 EUR"),
        ("新台幣三百元", "300.00 TWD"),
        ("三十鎊", "30.00 GBP"),
        ("fifty p", "0.50 GBP"),
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


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1.5w", "15000.00 USD"), ("five k", "5000.00 USD"), ("2 hundred", "200.00 USD"), ("half a grand", "500.00 USD"),
        ("two grand", "2000.00 USD"), ("twenty-five hundred", "2500.00 USD"), ("fourty", "40.00 USD"), ("不，500", "500.00 USD"),
        ("a grand and a half", "1500.00 USD"), ("three and a half grand", "3500.00 USD"), ("3 lakh", "300000.00 USD"),
    ],
)  # fmt: skip
def test_short_amounts_are_read_from_a_reply(text: str, amount: str) -> None:
    assert values("amount", text, currency="USD", asked=True) == [amount]


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("100-200块", ["100.00 CNY", "200.00 CNY"]),
        ("$100-200", ["100.00 USD", "200.00 USD"]),
        ("between 100 and 200 dollars", ["100.00 USD", "200.00 USD"]),
        ("iphone 15 and 200 dollars", ["200.00 USD"]),
    ],
)
def test_both_ends_of_a_range_have_the_currency(text: str, amounts: list[str]) -> None:
    assert values("amount", text) == amounts


@pytest.mark.parametrize("text", ["-50", "minus 50 dollars", "-$50", "负50元"])
def test_a_negative_amount_is_none(text: str) -> None:
    assert values("amount", text, asked=True) == []


@pytest.mark.parametrize(
    "text",
    ["咱们一块去", "一块儿", "换了两块屏幕", "第三块", "第5元素", "10元店", "a grand piano", "a dollar store", "for hours 5", "10 p.m."],
)
def test_words_of_money_that_mean_something_else_are_no_amounts(text: str) -> None:
    assert values("amount", text) == []


def test_dollars_are_those_of_the_slot() -> None:
    assert values("amount", "20 dollars", currency="AUD") == values("amount", "$20", currency="AUD") == ["20.00 AUD"]
    assert values("amount", "US$20", currency="AUD") == ["20.00 USD"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("about 12 items", [12]), ("two hundred", [200]), ("-5 degrees", [-5]), ("2.5", [2.5]), ("三个", [3]), ("等一下", []), ("万一", [])],
)
def test_numbers_are_read(text: str, found: list[float]) -> None:
    assert values("number", text) == found


@pytest.mark.parametrize(("text", "number"), [("a dozen", 12), ("half a dozen", 6), ("a couple", 2), ("both", 2), ("半打", 6), ("仨", 3)])
def test_words_for_numbers_are_read_only_from_a_reply(text: str, number: int) -> None:
    assert values("number", text, asked=True) == [number]
    assert values("number", text) != [number]


@pytest.mark.parametrize(
    "text",
    [
        "my card ending in 4821", "the last four digits are 4 8 2 1", "it ends with four eight two one", "尾号是4821", "后四位四八二一",
        "4821结尾的卡", "4111 1111 1111 4821", "****4821", "尾號４８２１", "尾數4821", "末尾四位是4821", "…4821",
        "my card ending with the digits 4821", "ending in forty-eight twenty-one",
    ],
)  # fmt: skip
def test_the_end_of_a_card_is_read(text: str) -> None:
    assert values("card_ending", text) == ["4821"]


def test_four_digits_are_the_end_of_a_card_only_in_a_reply() -> None:
    assert values("card_ending", "it was 2026") == []
    assert values("card_ending", "the 4821 one", asked=True) == values("card_ending", "四八二一", asked=True) == ["4821"]
    assert values("card_ending", "48215", asked=True) == []


@pytest.mark.parametrize(
    ("text", "digits"), [("零零七幺", "0071"), ("double four two one", "4421"), ("nineteen eighty-four", "1984"), ("48-21", "4821")]
)
def test_digits_are_read_as_they_are_said(text: str, digits: str) -> None:
    assert values("card_ending", text, asked=True) == [digits]


def test_several_cards_are_read() -> None:
    assert values("card_ending", "尾号是4821和1234的两张") == values("card_ending", "ending in 4821 and 1234") == ["4821", "1234"]


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
    "text",
    [
        "two zero two six one one two three triple zero one",
        "2026 1123 0001",
        "2026-1123-0001",
        "order202611230001",
        "二〇二六一一二三〇〇〇一",
        "20261123/0001",
    ],
)
def test_order_numbers_are_read_in_groups_and_in_chinese(text: str) -> None:
    assert values("order_number", f"it is {text}, thanks", pattern=r"20\d{10}") == ["202611230001"]
    assert values("order_number", f"{text} 7", pattern=r"21\d{10}") == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+44 20 7946 0958", "+442079460958"),
        ("我的手机是１３８ １２３４ ５６７８", "+8613812345678"),
        ("(212) 736-5000", "+12127365000"),
        ("幺三八一二三四五六七八", "+8613812345678"),
        ("86-13812345678", "+8613812345678"),
        ("(86)13812345678", "+8613812345678"),
    ],
)
def test_telephone_numbers_are_international(text: str, number: str) -> None:
    assert values("phone", text) == [number]


def test_mail_addresses_are_read_with_blanks_and_a_chinese_full_stop() -> None:
    assert (
        values("mail", "me @ example.com") == values("mail", "me@example。com") == values("mail", "me(at)example.com") == ["me@example.com"]
    )


def test_mail_addresses_are_in_lower_case() -> None:
    assert values("mail", "Write to Ann.Lee@Example.co.uk now") == ["ann.lee@example.co.uk"]


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "Yes please",
        "sure, go ahead",
        "好的",
        "是的，没错",
        "嗯，确认",
        "我要",
        "没问题",
        "對",
        "yesss",
        "kk",
        "👍🏽",
        "好好好",
        "好滴",
        "looks good",
        "没毛病",
    ],
)
def test_yes_is_yes(text: str) -> None:
    assert values("yes_no", text) == [True]


@pytest.mark.parametrize(
    "text",
    ["no", "No, not that", "nope", "不", "不对", "不要", "我不要", "先不", "不用了", "nooo", "absolutely not", "👎", "不太对", "没必要"],
)
def test_no_is_no(text: str) -> None:
    assert values("yes_no", text) == [False]


@pytest.mark.parametrize(
    "text", ["银行卡", "I don't know", "not sure", "行不行", "right now", "他需要时间", "不知道", "what?", "好好想想", "对了，你们几点下班"]
)
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the first one", ["lost"]), ("2", ["stolen"]), ("option 2 please", ["stolen"]), ("the latter", ["stolen"]), ("第二个", ["stolen"]),
        ("后者吧", ["stolen"]), ("3", []), ("2 weeks ago", []), ("the first time", []), ("一个", []), ("one stolen", ["stolen"]),
    ],
)  # fmt: skip
def test_a_reply_means_an_option_by_its_place(text: str, found: list[str]) -> None:
    assert values("choice", text, choices=CHOICES, asked=True) == found
    assert values("choice", text, choices=CHOICES) == (found if "stolen" in text else [])


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
