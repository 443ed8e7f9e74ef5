"""Which details of a message are meant: negated ones, replaced ones, and those between which nobody has decided."""

from datetime import UTC, datetime

import pytest

from vertune.dialogue.characters import plain
from vertune.dialogue.entities import Options, find
from vertune.dialogue.retracted import is_negated, is_open, is_relative, meant

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()  # a Sunday


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("not 200, 300", ["300.00 USD"]),
        ("300, not 200", ["300.00 USD"]),
        ("不是200，是300", ["300.00 USD"]),
        ("是300不是200", ["300.00 USD"]),
        ("50... no, 60", ["60.00 USD"]),
        ("50, sorry, 60, I mean 70", ["70.00 USD"]),
        ("50 instead of 60", ["50.00 USD"]),
        ("从50改到60", ["60.00 USD"]),
        ("50 and 60", ["50.00 USD", "60.00 USD"]),
        ("是不是50", ["50.00 USD"]),
        ("not for 50", []),
    ],
)
def test_what_is_negated_or_replaced_is_not_meant(text: str, left: list[str]) -> None:
    found = find("amount", text, NOW, Options(currency="USD", asked=True))
    assert [one.value for one in meant(plain(text), found)] == left


@pytest.mark.parametrize(
    ("text", "either", "ranges"),
    [
        ("50 or 60", True, True), ("50或者60", True, True), ("50-60", False, True), ("50到60", False, True),
        ("50 or 50", False, False), ("50 and 60", False, False), ("50", False, False),
    ],
)  # fmt: skip
def test_an_alternative_is_open_and_a_range_where_one_value_is_needed(text: str, either: bool, ranges: bool) -> None:
    found = find("amount", text, NOW, Options(currency="USD", asked=True))
    assert (is_open(text, found, ranges=False), is_open(text, found, ranges=True)) == (either, ranges)


@pytest.mark.parametrize(
    ("kind", "text", "relative"),
    [
        ("amount", "再加十块", True), ("amount", "10 pounds more", True), ("amount", "another 10 pounds", True),
        ("amount", "10 pounds", False),
        ("amount", "改成十块", False), ("date", "a day later please", True), ("date", "in two days", False),
    ],
)  # fmt: skip
def test_a_change_of_a_value_is_told_from_a_value(kind: str, text: str, relative: bool) -> None:
    (found,) = find(kind, text, NOW, Options(currency="USD", asked=True))
    assert is_relative(plain(text), found) is relative


def test_what_follows_a_detail_may_negate_it() -> None:
    text = "质量没问题，就是大了"
    assert is_negated(text, 0, 2)
    assert not is_negated(text, 8, 10)
