"""Numbers are read as people write them."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.core.numerals import decimal_mark, is_separated, parsed, units

NUMBERS = st.decimals(min_value=-(10**9), max_value=10**9, places=2, allow_nan=False)


def read(texts, decimal):
    return pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(parsed(pl.col("text"), decimal)).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1", 1.0, 1.0), ("1.5", 1.5, None), ("1,5", None, 1.5), ("1,234.5", 1234.5, None), ("1.234,5", None, 1234.5),
        ("1 234,5", None, 1234.5),
        ("1’234,5", None, 1234.5), ("1,234", 1234.0, 1.234), ("1.234", 1.234, 1234.0), ("1,23,456", None, None), ("-2e3", -2000.0, -2000.0),
        ("x", None, None), ("", None, None), ("1.2.3", None, None), ("12.34.567,1", None, None),
    ],
)  # fmt: skip
def test_a_number_has_one_value_for_each_mark(text, point, comma):
    assert read([text], "point") == [point]
    assert read([text], "comma") == [comma]


@given(st.lists(NUMBERS, min_size=1), st.sampled_from([("point", ",", "."), ("comma", ".", ","), ("comma", "\u202f", ",")]))
def test_what_is_written_is_read(numbers, form):
    decimal, thousands, mark = form
    written = [f"{number:,.2f}".replace(",", "_").replace(".", mark).replace("_", thousands) for number in numbers]
    assert decimal_mark(pl.Series(written)) == decimal
    assert read(written, decimal) == pytest.approx([float(number) for number in numbers])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_of_python_have_a_point(numbers):
    written = [repr(number) for number in numbers]
    assert decimal_mark(pl.Series(written)) == "point"
    assert read(written, "point") == numbers


def test_separators_are_reported():
    texts = pl.DataFrame({"text": ["1.5", "1,234", "x"]})
    assert texts.select(is_separated(pl.col("text"), "point")).to_series().to_list() == [False, True, False]
    assert decimal_mark(pl.Series(["1,5", "a"])) is None


@pytest.mark.parametrize("unit", ["€", "$", "£", "¥", "元", "%", "EUR", "CNY"])
@pytest.mark.parametrize("form", ["{unit} {number}", "{unit}{number}", "{number} {unit}", "{number}{unit}", "-{unit}{number}"])
def test_a_sign_beside_a_number_is_left_out(unit, form):
    written = [form.format(unit=unit, number=number) for number in ("1,234.50", "7", "0.5")]
    sign = -1.0 if form.startswith("-") else 1.0
    assert read(written, "point") == [sign * 1234.5, sign * 7.0, sign * 0.5]
    assert units(pl.Series(written)) == [unit]
    assert decimal_mark(pl.Series(written)) == "point"


def test_numbers_of_different_units_are_not_one_quantity():
    assert units(pl.Series(["5 €", "5 $", "6"])) == ["$", "€"]
    assert decimal_mark(pl.Series(["5 €", "5 $"])) is None


@pytest.mark.parametrize("text", ["%", "€", "50 % off", "A4 %", "EURO 5", "5 E", "€ €", "to 5 €"])
def test_a_text_with_a_sign_is_no_number(text):
    assert read([text], "point") == [None]
