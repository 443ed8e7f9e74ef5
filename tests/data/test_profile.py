"""What is measured of columns: their kind, and what their names suggest."""

import datetime

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vertune.core.column_names import roles
from vertune.data.profile import profile_table


def kind(values, name="x"):
    return profile_table(pl.DataFrame({name: pl.Series(values, strict=False)})).columns[0].kind


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([f"a text of several words, number {place}" for place in range(50)], "text"),
        (["card", "rate"] * 25, "category"),
        ([0, 1] * 25, "flags"),
        (["0", "1"] * 25, "flags"),
        ([True, False] * 25, "flags"),
        ([1, 2, 3] * 20, "category"),
        ([place / 7 for place in range(50)], "number"),
        ([f"{place},5" for place in range(50)], "number"),
        (list(range(50)), "id"),
        ([float(place) for place in range(50)], "id"),
        ([f"T-{place * 37}" for place in range(50)], "id"),
        ([f"沪民初{place}号" for place in range(50)], "id"),
        ([f"订单{place}什么时候能到" for place in range(50)], "text"),
        ([datetime.date(2026, 1, 1 + place % 28) for place in range(50)], "date"),
        ([f"{1 + place % 28}.1.2026 12:0{place % 9}" for place in range(50)], "date"),
        ([["a", "b"], ["a"]] * 20, "labels"),
        ([f"a{place % 3}|b{place % 2}" for place in range(50)], "labels"),
        ([[{"start": 0, "end": 1, "label": "X"}]] * 20, "spans"),
        ([[{"answer_start": 0, "text": "x"}]] * 20, "answers"),
        ([{"a": 1}] * 20, "other"),
        ([[0.1, 0.2]] * 20, "other"),
        (["[1, 2]"] * 20, "other"),
    ],
)
def test_the_kind_of_a_column(values, expected):
    assert kind(values) == expected


def test_a_name_makes_a_number_a_quantity_or_a_class():
    assert kind([1, 2, 3, 4, 5] * 10, "rating") == "number"
    assert kind([1, 2, 3, 4, 5] * 10, "label") == "category"
    assert kind([70, 80, 95] * 20, "weight_kg") == "number"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("label", "label"), ("Ticket Category", "label"), ("gold_label", "label"), ("类别", "label"), ("问题类型", "label"),
        ("是否违约", "label"),
        ("Diagnosis (ICD text)", "label"), ("text", "text"), ("Customer Question", "text"), ("customerQuestion", "text"),
        ("评论内容", "text"),
        ("rating", "number"), ("score_avg", "number"), ("得分", "number"), ("满意度(1-5)", "number"),
        ("Our Reply", "reply"), ("答案", "reply"),
        ("Created at", "meta"),
        ("Visit date", "meta"), ("日期", "meta"), ("Case No.", "id"), ("userId", "id"), ("编号", "id"), ("reference_answer", "reference"),
    ],
)  # fmt: skip
def test_a_name_suggests_a_role(name, role):
    found = roles(name)
    assert max(found, key=lambda one: (found[one], one == role)) == role


@given(st.text(max_size=40))
def test_every_name_is_rated(name):
    assert all(0 < score <= 1 for score in roles(name).values())


VALUES = st.one_of(st.none(), st.text(max_size=30), st.integers(-(2**62), 2**62), st.floats(), st.booleans(), st.dates())


@given(st.lists(VALUES, max_size=30), st.text(max_size=10))
@example(["a"], "^$")
def test_every_column_is_measured(values, name):
    name = name.lstrip("_") or "x"
    frame = pl.DataFrame({name: pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)})
    for column in profile_table(frame).columns:
        assert 0 < column.filled <= len(values)
        assert "\n" not in column.description
