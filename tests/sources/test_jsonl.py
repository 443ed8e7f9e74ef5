from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    assert "is a list, where a JSON object" in errors[2]
    assert "surrogate" in errors[4]
    assert frame["text"].to_list() == ["a", None, None, None, None, "e"]


@pytest.mark.parametrize("form", ["{}\n{}\n{}\n", "[{}, {}, {}]", "{}\n\n{}\n{}\n"], ids=["lines", "array", "indented"])
def test_a_name_that_an_object_has_twice_is_no_row(read, form):
    """A parser would keep the last value: a row with two labels would be learnt with one of them."""
    rows = ['{"text": "a", "label": "x", "label": "y"}', '{"text": "b", "more": {"of": 1, "of": 2}}', '{"text": "c", "label": "x"}']
    if "\n\n" in form:
        rows = [row.replace(",", ",\n") for row in rows]
    frame = read(form.format(*rows))
    assert frame["__error"].to_list() == ["has the name 'label' twice in one object", "has the name 'of' twice in one object", None]
    assert frame["text"].to_list() == [None, None, "c"]


def test_an_array_is_read_too(read):
    assert read('[{"text": "a"}, {"text": "b"}]')["text"].to_list() == ["a", "b"]
    assert read('[\n {"text": "a"}\n ,{"text": "b"}\n]\n')["text"].to_list() == ["a", "b"]
    for broken in (
        '[{"text": "a"} {"text": "b"}, {"text": "some more text"}]',
        '[{"text": "a"},, {"text": "some more text"}]',
        '[{"a": "b"}] and more',
    ):
        with pytest.raises(DataError, match="begins like a JSON array"):
            read(broken)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_an_array_that_is_cut_anywhere_keeps_its_whole_values(tmp_path_factory, data):
    rows = data.draw(
        st.lists(st.fixed_dictionaries({"text": st.text(max_size=5), "score": st.none() | st.integers()}), min_size=2, max_size=5)
    )
    content = json.dumps(rows, indent=data.draw(st.sampled_from([None, 1])), ensure_ascii=data.draw(st.booleans()))
    first = content.index("}") + 1 if "}" not in rows[0]["text"] else len(json.dumps(rows[0])) + 20
    cut = data.draw(st.integers(min(first, len(content) - 1), len(content) - 1))
    path = tmp_path_factory.mktemp("json") / "rows.json"
    path.write_text(content[:cut], encoding="utf-8")
    frame = Jsonl(path=str(path)).read()
    whole = frame.filter(frame["__error"].is_null())
    assert whole.height == frame.height - 1
    assert whole["text"].to_list() == [row["text"] for row in rows[: whole.height]]
    assert "not written or copied completely" in frame["__error"][-1]


def test_bad_values_of_an_array_are_rows_with_an_error(read):
    values = ['{"text": "a"}', "null", "3", '{"text": NaN}', '{"text": "\\uD800"}', '{"text": "NaN"}', '{"text": "\\ud83d\\ude00"}']
    frame = read(f"[{', '.join(values)}]")
    errors = frame["__error"].to_list()
    assert [bool(error) for error in errors] == [False, True, True, True, True, False, False]
    assert "is null, where" in errors[1]
    assert "NaN is not a JSON value" in errors[3]
    assert "surrogate" in errors[4]
    assert frame["text"].to_list()[5:] == ["NaN", "😀"]


def test_invalid_bytes_of_an_array_cost_their_value(read):
    values = [
        json.dumps({"text": f"我的银行卡被吞了 {place}"}, ensure_ascii=False).encode("gb18030" if place == 4 else "utf-8")
        for place in range(30)
    ]
    frame = read(b"[" + b",\n".join(values) + b"]")
    assert frame["__error"].is_not_null().arg_true().to_list() == [4]
    assert "not valid in UTF-8" in frame["__error"][4]


def test_lines_that_are_no_object_are_named_and_an_empty_object_is_a_row(read):
    frame = read('null\n{}\n{"text": "a"}\n{"text": NaN}\n{"text": Infinity}\n12\n"b"\ntrue\n{"te')
    assert [bool(error) for error in frame["__error"]] == [True, False, False, True, True, True, True, True, True]
    assert frame["text"].to_list()[1:3] == [None, "a"]
    with pytest.raises(DataError, match="is null, where a JSON object"):
        read("null\nnull\n")
    with pytest.raises(DataError, match=r"contains no JSON objects .they are all empty"):
        read("{}\n{}\n")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["a", "b", "", "c d"]), _VALUES, min_size=1, max_size=3), min_size=1, max_size=5),
    array=st.booleans(),
)
def test_any_objects_become_as_many_rows(tmp_path_factory, rows, array):
    path = tmp_path_factory.mktemp("json") / "rows.json"
    path.write_text(json.dumps(rows) if array else "\n".join(map(json.dumps, rows)), encoding="utf-8")
    frame = Jsonl(path=str(path)).read()
    assert frame.height == len(rows)
    assert frame["__error"].null_count() == len(rows)
    for name in {key for row in rows for key in row}:
        assert frame[name].null_count() == sum(row.get(name) is None for row in rows)


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


ROWS = [
    {"text": "my card is lost", "label": "card"},
    {"text": "the rate is high", "label": "rate"},
    {"text": "a new card", "label": "card"},
]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("value", "note"),
    [
        ({"version": "2", "data": ROWS}, "The rows are the list 'data'."),
        ({"columns": ["text", "label"], "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]}, "The rows are the list 'data'"),
        ({name: [row[name] for row in ROWS] for name in ("text", "label")}, "Each list of the file is a column."),
        ({name: {str(place): row[name] for place, row in enumerate(ROWS)} for name in ("text", "label")}, "object of the file is a column"),
        ({f"row {place}": row for place, row in enumerate(ROWS)}, "the column 'key' has its name"),
        ([["text", "label"], *(list(row.values()) for row in ROWS)], "the first one has the names of the columns"),
    ],
)
def test_rows_are_found_in_other_forms_of_files(tmp_path, value, note, indent):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
    source, notes = Jsonl(path=str(path)).detect()
    assert source.read().select("text", "label").to_dicts() == ROWS
    assert note in notes[0]


def test_lists_by_split_and_by_label_become_rows(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"train": [["a b", "x"], ["c d", "x"]], "test": [["e f", "y"], ["g h", "x"]]}), encoding="utf-8")
    assert Jsonl(path=str(path)).read().drop("__file", "__row", "__error").rows() == [
        ("a b", "x", "train"), ("c d", "x", "train"), ("e f", "y", "test"), ("g h", "x", "test"),
    ]  # fmt: skip
    path.write_text(json.dumps({"billing": ["too much", "charged twice"], "delivery": ["too late"]}), encoding="utf-8")
    frame = Jsonl(path=str(path)).read()
    assert frame["text"].to_list() == ["too much", "charged twice", "too late"]
    assert frame["label"].to_list() == ["billing", "billing", "delivery"]


def test_objects_on_several_lines_are_rows_and_a_damaged_line_costs_no_other(read):
    frame = read("\n".join(json.dumps(row, indent=2) for row in ROWS))
    assert frame.select("text", "label").to_dicts() == ROWS
    damaged = read('{"text": "a",\n{"text": "b"}\n{"text": "c"}\n')
    assert damaged["text"].to_list() == [None, "b", "c"]
    assert damaged["__error"][0] == "line 1 is not JSON: Expecting property name enclosed in double quotes at character 15"


def test_nested_objects_become_columns_but_parts_of_texts_do_not(read):
    frame = read(
        "".join(json.dumps({"id": place, "data": {"text": row["text"], "by": {"name": "n"}}}) + "\n" for place, row in enumerate(ROWS))
    )
    assert frame.drop("__file", "__row", "__error").columns == ["id", "data", "data.text", "data.by", "data.by.name"]
    assert frame["data.by.name"].to_list() == ["n", "n", "n"]
    assert frame["data.text"].to_list() == [row["text"] for row in ROWS]
    answers = {"text": ["card"], "answer_start": [3]}
    assert read(json.dumps({"context": "my card", "answers": answers}) + "\n" + json.dumps({"context": "b"}))["answers"][0] == answers


def test_what_each_role_says_is_a_column(read):
    def talk(*said):
        return json.dumps({"messages": [{"role": role, "content": text} for role, text in said]}) + "\n"

    frame = read(talk(("user", "my card"), ("assistant", "card")) + talk(("user", "too high"), ("assistant", "rate")))
    assert frame["messages.user"].to_list() == ["my card", "too high"]
    assert frame["messages.assistant"].to_list() == ["card", "rate"]
    longer = read(talk(("user", "my card"), ("assistant", "which?"), ("user", "the red one")) + talk(("user", "too high")))
    assert longer.columns[0] == "messages"
    assert "messages.user" not in longer.columns


@pytest.mark.parametrize(
    "row",
    [
        {"text": "my card", "spans": [{"start": 3, "end": 7, "label": "a"}, {"start": 0, "end": 2, "label": "b"}]},
        {"question": "what?", "options": [{"name": "a"}, {"name": "b"}]},
        {"text": "my card", "labels": ["a", "b"]},
    ],
)
def test_the_only_row_of_a_file_is_no_wrapper(read, row):
    frame = read(json.dumps(row))
    assert frame.height == 1
    assert set(row) <= set(frame.columns)
