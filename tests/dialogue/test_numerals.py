"""Numbers in words: spelled by the rules of each language, then read again."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.dialogue.entities.numerals import chinese, digits_of, english, numbers

ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spelled(number: int, joint: str) -> str:
    """How a number is said in English, with or without `and` and hyphens."""
    for size, name in ((10**9, "billion"), (10**6, "million"), (1_000, "thousand")):
        if number >= size:
            rest = number % size
            return f"{spelled(number // size, joint)} {name}" + (f"{joint if rest < 100 else ' '}{spelled(rest, joint)}" if rest else "")
    if number >= 100:
        return f"{ONES[number // 100]} hundred" + (f"{joint}{spelled(number % 100, joint)}" if number % 100 else "")
    if number < 20:
        return ONES[number]
    return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")


def in_chinese(number: int) -> str:
    """How a number is written in Chinese, with 零 where units are skipped and 一 before 十."""
    for size, name in ((10**8, "亿"), (10**4, "万")):
        if number >= size:
            rest = number % size
            return in_chinese(number // size) + name + (("零" if rest < size // 10 else "") + in_chinese(rest) if rest else "")
    digits, text, skipped = "零一二三四五六七八九", "", False
    for unit, name in ((1_000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += ("零" if skipped and text else "") + digits[digit] + name
            skipped = False
        else:
            skipped = True
    return text or "零"


@settings(deadline=None)
@given(st.integers(0, 10**12 - 1), st.sampled_from([" ", " and "]))
def test_english_numbers_are_read_as_they_are_said(number: int, joint: str) -> None:
    assert english(spelled(number, joint)) == number


@settings(deadline=None)
@given(st.integers(0, 10**12 - 1))
def test_chinese_numbers_are_read_as_they_are_written(number: int) -> None:
    assert chinese(in_chinese(number)) == number


@settings(deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(["{:d}", "{:,d}", "{:d}.50"]))
def test_digits_are_read_with_and_without_commas(number: int, form: str) -> None:
    written = form.format(number)
    assert [found.value for found in numbers(f"about {written} of them")] == [Decimal(written.replace(",", ""))]


@settings(deadline=None)
@given(st.integers(0, 9_999))
def test_digits_in_words_are_the_digits(number: int) -> None:
    digits = f"{number:04}"
    assert digits_of(" ".join(ONES[int(digit)] for digit in digits)) == digits
    assert digits_of("".join("零一二三四五六七八九"[int(digit)] for digit in digits)) == digits
    assert digits_of(" ".join(digits)) == digits


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("三千五", 3500),
        ("一万二", 12000),
        ("三百五", 350),
        ("两千", 2000),
        ("3万", 30000),
        ("1.5万", 15000),
        ("十五", 15),
        ("贰佰", 200),
        ("俩", 2),
    ],
)
def test_short_chinese_forms_are_read(words: str, value: int) -> None:
    assert chinese(words) == value


@pytest.mark.parametrize("words", ["one two three", "hundred", "one thousand million", "twenty twelve", ""])
def test_words_that_are_no_number_are_none(words: str) -> None:
    assert english(words) is None


@pytest.mark.parametrize("characters", ["一二三", "百", "一百十", "万"])
def test_characters_that_are_no_number_are_none(characters: str) -> None:
    assert chinese(characters) is None


@settings(deadline=None)
@given(st.text(max_size=60))
def test_numbers_of_any_text_are_apart_and_in_order(text: str) -> None:
    found = list(numbers(text))
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(0 <= one.start < one.end <= len(text) for one in found)
