"""Records are checked before they are answered: fields by either name, nothing that no table holds, the first error by number."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest

from vertune.core.errors import ConfigError, DataError
from vertune.data.validate import (
    MAX_RECORDS_WITHOUT_FRAME,
    frame_of_records,
    model_columns,
    record_of_texts,
    records_of_texts,
    select_fields,
    text_records,
    validate_records,
)
from vertune.tasks.classify import Classify
from vertune.tasks.embed import Embed
from vertune.tasks.extract import Extract


def predictor(task=None, **fields: str) -> SimpleNamespace:
    """What validation reads of a model."""
    return SimpleNamespace(task=task or Classify(labels=("food", "place")), fields=fields, columns=(), cleaners=())


def test_texts_and_frames_give_the_same_records() -> None:
    model = predictor(text="query")
    for records in ([{"query": "a"}, {"text": "b"}], [{"text": "a", "label": "food", "more": 1}]):
        assert text_records(model, records) == [dict(one) for one in validate_records(model, records)]
    assert text_records(model, [{"query": "a", "text": "b"}]) is None
    assert [one["text"] for one in validate_records(model, [{"text": 3}] * 2)] == ["3", "3"]
    assert validate_records(model, []) == []


@pytest.mark.parametrize("bad", ["", " ", None])
def test_the_first_record_that_can_not_be_answered_is_named(bad) -> None:
    with pytest.raises(DataError, match=r"Record 2 can't be answered: .* \(2 records can't be answered\)"):
        validate_records(predictor(), [{"text": "a"}, {"text": bad}, {"text": "b"}, {"text": bad}])


MISSING = [None, float("nan"), np.float64("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]


@pytest.mark.parametrize("value", MISSING, ids=lambda value: f"{type(value).__name__}")
@pytest.mark.parametrize("count", [2, MAX_RECORDS_WITHOUT_FRAME + 1])
def test_a_missing_text_is_empty_however_it_is_written(value, count) -> None:
    records = [*({"text": "a"} for _ in range(count - 1)), {"text": value}]
    with pytest.raises(DataError, match=f"Record {count} can't be answered: text is empty"):
        validate_records(predictor(), records)


@pytest.mark.parametrize("count", [1, MAX_RECORDS_WITHOUT_FRAME, MAX_RECORDS_WITHOUT_FRAME + 1])
@pytest.mark.parametrize("fields", [{}, {"text": "question", "text_pair": "answer"}])
def test_an_optional_input_may_be_left_out_of_any_number_of_records(count, fields) -> None:
    model = predictor(Embed(), **fields)
    key = fields.get("text", "text")
    assert validate_records(model, [{key: f"text {row}"} for row in range(count)]) == [{"text": f"text {row}"} for row in range(count)]
    with pytest.raises(DataError, match=f"Record {count} can't be answered: text is empty"):
        validate_records(model, [*({key: "a"} for _ in range(count - 1)), {key: "  "}])


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(DataError, match="is not valid Unicode"):
        validate_records(predictor(), [{"text": "\ud800"}])


def test_fields_that_are_read_are_kept_under_every_name_they_may_have() -> None:
    models = [predictor(text="query"), predictor(Extract())]
    record = {"query": "a", "question": "b", "context": 1, "other": [1], "label": "food"}
    (kept,) = select_fields(models, [record])
    assert kept == {"query": "a", "question": "b", "context": 1, "other": None, "label": None}
    many = {f"field{number}": number for number in range(1000)}
    assert len(select_fields(models, [many | {"text": "a"}])[0]) == 101


@pytest.mark.parametrize("value", [["a"], {"a": 1}, 2**63, -(2**63)])
def test_a_value_that_no_table_holds_is_refused_where_it_is_read(value) -> None:
    with pytest.raises(DataError, match="The field 'text' of record 2 is neither"):
        select_fields([predictor()], [{"text": "a"}, {"text": value}])
    assert select_fields([predictor()], [{"text": "a", "other": value}]) == [{"text": "a", "other": None}]


def test_bare_texts_become_records() -> None:
    assert record_of_texts(predictor(), ["a", "b"]) == {"text": "a", "text_pair": "b"}
    with pytest.raises(ConfigError, match="3 texts were given, but this model reads 2"):
        record_of_texts(predictor(), ["a", "b", "c"])
    with pytest.raises(ConfigError, match="2 texts were given, but this model reads 1"):
        record_of_texts(SimpleNamespace(task=Classify(), columns=("text", "label")), ["a", "b"])
    assert records_of_texts(Classify(), "intent", ["a", "b"]) == [{"text": "a"}, {"text": "b"}]
    with pytest.raises(DataError, match=r"'faq' reads the fields question and context, .* Send records"):
        records_of_texts(Extract(), "faq", ["a"])


@pytest.mark.parametrize("other", [["a", "b"], {"a": 1}, b"\xff", 7, True, date(2026, 1, 2), timedelta(1), None])
def test_a_column_with_the_name_of_a_field_may_hold_anything(other) -> None:
    frame = pl.DataFrame({"query": ["one", None], "text": [other, other]})
    kept = model_columns(frame, predictor(text="query"))["text"].to_list()
    assert kept[0] == "one"
    records = [{"query": "one", "text": other}, {"query": "two", "text": other}]
    assert model_columns(frame_of_records(records), predictor(text="query"))["text"].to_list() == ["one", "two"]
