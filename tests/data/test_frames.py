"""What Python callers pass becomes Polars frames: nothing missing becomes a word, and no value is lost."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertune.core.errors import DataError
from vertune.data import frames

WORDS = ["wheel", None, "NaN", "None", "<NA>"]
SCALARS = st.one_of(
    st.none(), st.text(st.characters(codec="utf-8"), max_size=5), st.integers(), st.floats(), st.booleans(), st.binary(max_size=4),
    st.dates(), st.just(pd.NA), st.just(pd.NaT), st.decimals(allow_nan=True, allow_infinity=False, places=2, min_value=-99, max_value=99),
)  # fmt: skip
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.frozensets(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text("ab", max_size=2), SCALARS, max_size=2),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, max_size=6))
def test_every_value_has_a_row_and_only_missing_ones_are_null(values) -> None:
    series = frames.column("x", values)
    assert len(series) == len(values)
    assert [value is None for value in series.to_list()] == [frames.is_missing(value) for value in values]


def test_a_list_of_texts_and_bytes_that_are_no_text_becomes_a_text():
    assert frames.column("x", [["", b"\x80"]]).to_list() == ['["", "b\'\\\\x80\'"]']


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.none(), st.integers(-(2**70), 2**70), st.text(st.characters(codec="utf-8"), max_size=5)), max_size=6))
def test_integers_and_texts_keep_their_value(values) -> None:
    assert [None if value is None else str(value) for value in frames.column("x", values).to_list()] == [
        None if value is None else str(value) for value in values
    ]


@pytest.mark.parametrize("dtype", [object, "str", "string", "category", "string[pyarrow]"])
def test_words_of_pandas_stay_words_and_gaps_stay_gaps(dtype) -> None:
    if dtype == "string[pyarrow]":
        pytest.importorskip("pyarrow")
    table = pd.DataFrame({"label": pd.Series(WORDS, dtype=dtype)})
    assert frames.of_columns(table)["label"].to_list() == WORDS


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series([1.0, np.nan]), [1.0, None]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series([True, None], dtype="boolean"), [True, None]),
        (pd.Series([pd.Timestamp(2024, 1, 1), pd.NaT]), [dt.datetime(2024, 1, 1), None]),
        (pd.Series(pd.period_range("2024-01", periods=2, freq="M")), ["2024-01", "2024-02"]),
        (pd.Series([{2, 1}, None]), [[1, 2], None]),
        (pd.Series([np.array(["a", "b"]), ("c",)]), [["a", "b"], ["c"]]),
        (pd.Series([Decimal("1.5"), Decimal("NaN")]), [Decimal("1.5"), None]),
        (pd.Series([{"a": 1}, {"b": 2}]), [{"a": 1, "b": None}, {"a": None, "b": 2}]),
        (pd.Series([["a"], "b"], dtype=object), ['["a"]', "b"]),
    ],
)
def test_columns_of_pandas(series, expected) -> None:
    assert frames.of_columns(pd.DataFrame({"x": series}))["x"].to_list() == expected


def test_two_columns_of_one_name_are_refused() -> None:
    table = pd.concat([pd.DataFrame({"text": ["a"], "label": ["x"]}), pd.Series(["y"], name="label")], axis=1)
    with pytest.raises(DataError, match="2 columns with the name 'label'"):
        frames.of_columns(table)
    with pytest.raises(DataError, match="2 columns with the name '1'"):
        frames.of_columns(pd.DataFrame([[1, 2]], columns=[1, "1"]))


def test_records_of_different_keys() -> None:
    frame = frames.of_records([{"text": "a", "age": 1}, {"text": float("nan")}, {"age": 2.5}])
    assert frame.to_dicts() == [{"text": "a", "age": 1.0}, {"text": None, "age": None}, {"text": None, "age": 2.5}]
    with pytest.raises(DataError, match="Record 2 has the type str"):
        frames.of_records([{"text": "a"}, "b"])


def test_nan_in_a_polars_frame_is_null() -> None:
    frame = frames.without_nan(pl.DataFrame({"x": [1.0, math.nan], "o": pl.Series([{1}, None], dtype=pl.Object)}))
    assert frame["x"].to_list() == [1.0, None]
    assert frame["o"].to_list() == [[1], None]


@pytest.mark.parametrize("records", [[{}], [{}, {}]])
def test_records_without_a_field_are_not_lost(records):
    with pytest.raises(DataError, match="Record 1 has no fields"):
        frames.of_records(records)
