from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vertune.reports import scales

finite = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.9342, "share", "93.4 %"),
        (-0.0001, "share", "0.0 %"),
        (-0.05, "share", "−5.0 %"),
        (0.89312, "number", "0.893"),
        (12.345, "number", "12.35"),
        (123.45, "number", "123.5"),
        (12345.6, "number", "12,346"),
        (153, "number", "153"),
        (None, "share", "–"),
        (math.nan, "number", "–"),
    ],
)
def test_a_value_is_written_with_the_digits_that_matter(value, unit, expected):
    assert scales.format_value(value, unit) == expected.replace(" %", scales.PER_CENT)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.041, "share", "+4.1 points"),
        (-0.041, "share", "−4.1 points"),
        (0.0, "share", "0.0 points"),
        (1.5, "number", "+1.500"),
        (None, "share", "–"),
    ],
)
def test_a_change_has_a_sign(value, unit, expected):
    assert scales.format_change(value, unit) == expected


def test_a_range_names_its_unit_once():
    assert scales.format_interval(0.924, 0.943, "share") == f"92.4 to 94.3{scales.PER_CENT}"
    assert scales.format_interval(None, 1.0) == "–"


@given(finite, finite, st.integers(2, 8))
@example(500_001.0, 900_402.0, 2)  # between two multiples of the step that comes first
def test_ticks_are_round_inside_and_few(a, b, wanted):
    low, high = min(a, b), max(a, b)
    if high - low < 1e-6 * max(1, abs(low)):
        return
    found = scales.ticks(low, high, wanted)
    slack = 1e-6 * (high - low)
    assert all(low - slack <= tick <= high + slack for tick in found)
    assert 1 <= len(found) <= wanted + 1
    steps = {round((after - before) / (high - low), 6) for before, after in pairwise(found)}
    assert len(steps) <= 1


@given(st.lists(st.one_of(st.none(), finite), max_size=6), st.sampled_from(["share", "number"]), st.booleans())
def test_an_axis_holds_its_values(values, unit, zero):
    low, high = scales.domain(values, unit, zero)
    assert low < high
    known = [value for value in values if value is not None]
    assert all(low <= value <= high for value in known)
    assert not zero or low <= 0 <= high
    assert all(0 <= scales.place(value, (low, high)) <= 100 for value in known)


@given(st.text(max_size=80), st.integers(3, 40))
def test_a_cut_text_fits(text, columns):
    for cut in (scales.short, scales.middle):
        found = cut(text, columns)
        assert scales.width(found) <= columns
        if "…" not in found:
            assert found == " ".join(text.split())


def test_a_name_keeps_its_end():
    assert scales.middle("balance_not_updated_after_bank_transfer", 21) == "balance_no…k_transfer"
    assert scales.short("账户余额查询", 7) == "账户余…"


@pytest.mark.parametrize(
    ("value", "unit", "expected"), [(0.5, "share", "50 %"), (0.02, "points", "+2"), (-1, "change", "−1"), (1000, "number", "1,000")]
)
def test_a_tick_is_short(value, unit, expected):
    assert scales.tick(value, unit) == expected.replace(" %", scales.PER_CENT)


def test_words_of_a_count():
    assert [scales.plural(1, "row"), scales.plural(2000, "row"), scales.plural(2, "query", "queries")] == [
        "1 row",
        "2,000 rows",
        "2 queries",
    ]
