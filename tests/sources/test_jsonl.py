from __future__ import annotations

import json

import polars as pl
import pytest

from vertune.core.errors import DataError
from vertune.sources.jsonl import Jsonl


@pytest.fixture
def read(tmp_path):
    def read(content: str | bytes):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Jsonl(path=str(path)).read()

    return read


def test_types_are_kept_and_keys_may_lack(read):
    frame = read('{"text": "a", "score": 1, "labels": ["x", "y"]}\n\n{"text": "b", "score": 2.5, "more": true}\n')
    assert frame["score"].to_list() == [1.0, 2.5]
    assert frame["labels"].to_list() == [["x", "y"], None]
    assert frame["more"].to_list() == [None, True]
    assert frame["__row"].to_list() == [1, 2]


def test_spans_keep_their_structure_even_when_a_key_is_missing_in_some(read):
    spans = [[{"start": 0, "end": 1, "label": "A"}], [], [{"start": 2, "end": 3, "label": "B", "sure": 0.5}]]
    frame = read("".join(json.dumps({"text": "abc", "spans": value}) + "\n" for value in spans))
    assert isinstance(frame.schema["spans"], pl.List)
    assert frame["spans"].to_list()[2] == [{"start": 2, "end": 3, "label": "B", "sure": 0.5}]
    assert frame["spans"].to_list()[0] == [{"start": 0, "end": 1, "label": "A", "sure": None}]


def test_no_value_is_lost_where_types_differ(read):
    values = [1, "two", [3], {"four": 4}, None, 2**70]
    frame = read("".join(json.dumps({"text": "a", "value": value}) + "\n" for value in values))
    found = frame["value"].to_list()
    assert found[1] == "two"
    assert [json.loads(found[place]) for place in (0, 2, 3, 5)] == [1, [3], {"four": 4}, 2**70]
    assert found[4] is None
    mixed = read('{"a": [1, 2]}\n{"a": ["x"]}\n')["a"].to_list()
    assert [json.loads(value) for value in mixed] == [[1, 2], ["x"]]


def test_bad_lines_are_rows_with_an_error(read):
    frame = read('{"text": "a"}\nnot json\n[1]\n{"text": NaN}\n{"text": "\\ud800"}\n{"text": "e"}\n')
    errors = frame["__error"].to_list()
    assert [bool(error) for error in errors] == [False, True, True, True, True, False]
    assert "line 2 is not JSON" in errors[1]
    assert "is a JSON list" in errors[2]
    assert "surrogate" in errors[4]
    assert frame["text"].to_list() == ["a", None, None, None, None, "e"]


def test_an_array_is_read_too(read):
    assert read('[{"text": "a"}, {"text": "b"}]')["text"].to_list() == ["a", "b"]
    with pytest.raises(DataError, match="begins like a JSON array"):
        read('[{"text": "a"}')


def test_gb18030_and_mixed_encodings(read):
    lines = [json.dumps({"text": f"我的银行卡被吞了 {place}"}, ensure_ascii=False) for place in range(30)]
    assert read("\n".join(lines).encode("gb18030"))["text"][0] == "我的银行卡被吞了 0"
    mixed = [line.encode("gb18030" if place == 4 else "utf-8") for place, line in enumerate(lines)]
    assert read(b"\n".join(mixed))["__error"].is_not_null().arg_true().to_list() == [4]


def test_a_file_without_objects_is_refused(read):
    with pytest.raises(DataError, match="contains no JSON objects"):
        read("text,label\na,b\n")
    with pytest.raises(DataError, match="is empty"):
        read("")


def test_a_broken_last_line_is_a_row_with_its_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\nbroken\n')
    frame = Jsonl(path=str(path)).read()
    assert frame["text"].to_list() == ["one", None]
    assert frame["__error"][1].startswith("line 2 is not JSON")
