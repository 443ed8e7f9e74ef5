from __future__ import annotations

import polars as pl
import pytest

from vertune.core.errors import ConfigError, DataError, UnknownName
from vertune.data.fields import map_fields
from vertune.tasks.classify import Classify
from vertune.tasks.multilabel import Multilabel

FRAME = pl.DataFrame(
    {
        "title": ["Card", None, "  "],
        "body": ["It is gone", "Too high", None],
        "amount": [5, None, 7],
        "label": ["a", "b", "a"],
        "parts": [["x"], ["y"], []],
        "__file": ["f.csv"] * 3,
        "__row": [1, 2, 3],
    }
)


def test_columns_are_joined_as_name_and_value():
    table = map_fields(FRAME, {"text": ["title", "body", "amount"]}, Classify())
    assert table.frame["text"].to_list() == ["title: Card; body: It is gone; amount: 5", "body: Too high", "amount: 7"]
    assert table.frame.columns == ["text", "label", "__file", "__row"]
    assert table.origin == {"text": ["title", "body", "amount"], "label": ["label"]}


def test_a_row_with_nothing_to_join_is_empty():
    assert map_fields(FRAME, {"text": ["title"]}, Classify()).frame["text"].to_list() == ["Card", None, "  "]
    assert map_fields(FRAME.with_columns(amount=None), {"text": ["title", "amount"]}, Classify()).frame["text"].to_list()[1] in (None, "")


def test_further_columns_are_kept_and_lazy_frames_read():
    table = map_fields(FRAME.lazy(), {"text": "body"}, Classify(), keep=["amount", "title", "amount", "label"])
    assert table.frame.columns == ["text", "label", "amount", "title", "__file", "__row"]


def test_rows_to_answer_need_no_targets():
    assert map_fields(FRAME.drop("label"), {"text": "body"}, Classify(), targets=False).frame.columns == ["text", "__file", "__row"]
    assert "label" not in map_fields(FRAME, {"text": "body", "label": "no such"}, Classify(), targets=False).frame.columns


@pytest.mark.parametrize(
    ("fields", "keep", "error", "words"),
    [
        ({"text": "boody"}, [], UnknownName, r"no column 'boody' in f.csv. Did you mean 'body'"),
        ({"text": ["title", "boddy"]}, [], UnknownName, r"Did you mean 'body'"),
        ({"text": "body"}, ["amont"], UnknownName, r"Did you mean 'amount'"),
        ({"txt": "body"}, [], UnknownName, r"no field 'txt' in the task 'classify'. Did you mean 'text'"),
        ({}, [], DataError, r"'classify' reads the column 'text', but f.csv has only these columns: title.*fields: \{text: COLUMN\}"),
        ({"text": ["title", "parts"]}, [], ConfigError, r"joins several columns, but the column 'parts' has the type List"),
        ({"text": "body", "label": ["title", "amount"]}, [], ConfigError, r"'label' is read from 2 columns .* can't be joined"),
        ({"text": "body", "label": "title"}, ["label"], ConfigError, r"'label' can't be kept under its name"),
    ],
)
def test_what_is_not_there_is_named(fields, keep, error, words):
    with pytest.raises(error, match=words):
        map_fields(FRAME, fields, Classify(), keep)


def test_the_nearest_column_is_offered_where_none_is_said():
    with pytest.raises(DataError, match=r"Did you mean 'texts'\? .*fields: \{text: texts\}"):
        map_fields(FRAME.rename({"body": "texts"}), {}, Classify())


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ([1, 0, 1], [["a", "b"], [], ["a"]]),
        ([1.0, 0.0, None], [["a", "b"], [], None]),
        ([True, False, True], [["a", "b"], [], ["a"]]),
        (["1", "0", " "], [["a", "b"], [], None]),
        (["x", "", None], [["a", "b"], [], []]),
        (["Yes", "no", "Y"], [["a", "b"], [], ["a"]]),
    ],
)
def test_columns_of_zeros_and_ones_become_labels(one, expected):
    frame = pl.DataFrame({"text": ["t"] * 3, "a": one, "b": [1, 0, 0]})
    for table in (frame, frame.lazy()):
        assert map_fields(table, {"labels": ["a", "b"]}, Multilabel()).frame["labels"].to_list() == expected


def test_columns_of_other_values_are_no_labels():
    frame = pl.DataFrame({"text": ["t"] * 2, "a": [1, 0], "b": [2, 0]})
    with pytest.raises(ConfigError, match="the column 'b' contains '2'"):
        map_fields(frame, {"labels": ["a", "b"]}, Multilabel())


@pytest.mark.parametrize("name", ["*", "^a$", "^.*$", "a b", ".*", "", "a\nb"])
def test_a_column_may_have_any_name(name):
    frame = pl.DataFrame({name: ["first", "second"], "a": ["x", "y"], "label": ["l", "m"]})
    for table in (frame, frame.lazy()):
        assert map_fields(table, {"text": name}, Classify()).frame["text"].to_list() == ["first", "second"]
        assert map_fields(table, {"text": [name, "a"]}, Classify()).frame["text"][0] == f"{name}: first; a: x"
        assert map_fields(table, {"text": "a"}, Classify(), keep=[name]).frame[name].to_list() == ["first", "second"]
