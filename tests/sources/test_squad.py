from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core.errors import DataError
from vertune.sources.squad import Squad

CITIES = ("Paris", "Oslo", "Lima", "Rome", "波士顿")


def _questions(count: int = 20) -> list[dict]:
    """Paragraphs of one question each, as a SQuAD file has them."""
    return [
        {
            "context": f"Anna lives in {CITIES[place % 5]} since day {place}.",
            "qas": [{"id": f"q{place}", "question": "Where?", "answers": [{"text": CITIES[place % 5], "answer_start": 14}]}],
        }
        for place in range(count)
    ]


@pytest.fixture
def read(tmp_path):
    def read(paragraphs: list, encoding: str = "utf-8"):
        path = tmp_path / "rows.json"
        value = {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}
        path.write_text(json.dumps(value, ensure_ascii=encoding == "ascii"), encoding=encoding)
        return Squad(path=str(path)).read()

    return read


def test_there_is_a_row_for_each_question(tmp_path):
    frame = Squad.sample(tmp_path).read()
    assert frame["question"].to_list() == ["Where?", "When?"]
    answer = frame["answers"].to_list()[0][0]
    assert frame["context"][0][answer["start"] :].startswith(answer["text"])
    assert frame["answers"].to_list()[1] == []
    assert frame["title"].to_list() == ["Ada", "Ada"]


@pytest.mark.parametrize("off", [-14, -1, 1, 5, 300])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16", "ascii"])
def test_a_wrong_start_is_corrected_where_the_answer_stands_once(read, off, encoding):
    paragraphs = _questions()
    paragraphs[4]["qas"][0]["answers"][0]["answer_start"] += off
    frame = read(paragraphs, encoding)
    assert frame["__error"].null_count() == 20
    assert frame["answers"].to_list()[4] == [{"start": 14, "text": "波士顿"}]


@pytest.mark.parametrize("context", ["Paris, then Paris again", "Oslo"])
def test_an_answer_that_stands_nowhere_or_twice_is_rejected_by_name(read, context):
    paragraphs = _questions()
    paragraphs[5]["context"] = context
    paragraphs[5]["qas"][0]["answers"][0]["answer_start"] = 3
    frame = read(paragraphs)
    assert frame["__error"].is_not_null().arg_true().to_list() == [5]
    assert "has the answer 'Paris', which is not at its answer_start" in frame["__error"][5]
    assert frame["id"][5] == "q5"


def test_an_empty_answer_at_minus_one_means_that_there_is_none(read):
    paragraphs = _questions()
    paragraphs[2]["qas"][0] |= {"is_impossible": False, "answers": [{"text": "", "answer_start": -1}]}
    frame = read(paragraphs)
    assert frame["__error"].null_count() == 20
    assert frame["answers"].to_list()[2] == []


def test_questions_without_an_id_get_their_number(read):
    paragraphs = _questions(3)
    for paragraph in paragraphs[1:]:
        del paragraph["qas"][0]["id"]
    assert read(paragraphs)["id"].to_list() == ["q0", "2", "3"]


def test_answers_can_be_lists_side_by_side(read):
    paragraphs = _questions(2)
    paragraphs[0]["qas"][0]["answers"] = {"text": ["Paris", "Anna"], "answer_start": [14, 0]}
    assert read(paragraphs)["answers"].to_list()[0] == [{"start": 14, "text": "Paris"}, {"start": 0, "text": "Anna"}]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("question", None, "has no text 'question'"),
        ("question", ["Where?"], "has no text 'question'"),
        ("answers", "Paris", "has answers that are no list"),
        ("answers", [{"text": "Paris"}], "has answers that are no list"),
        ("answers", [{"text": 5, "answer_start": 14}], "has answers that are no list"),
        ("answers", [{"text": "Paris", "answer_start": 14.5}], "has answers that are no list"),
        ("question", "half \ud800", "contains half a character"),
    ],
)
def test_one_bad_question_is_rejected_alone(read, key, value, words):
    paragraphs = _questions()
    paragraphs[0]["qas"][0][key] = value
    frame = read(paragraphs, "ascii")
    assert frame["__error"].is_not_null().arg_true().to_list() == [0]
    assert words in frame["__error"][0]


@pytest.mark.parametrize(
    ("paragraph", "words"),
    [("no paragraph", "paragraph 3 of article 1"), ({"context": "a"}, "no list 'qas'"), ({"qas": []}, "no text 'context'")],
)
def test_a_bad_paragraph_is_one_rejected_row(read, paragraph, words):
    paragraphs = _questions()
    paragraphs[2] = paragraph
    frame = read(paragraphs)
    assert frame.height == 20
    assert words in frame["__error"][2]
    assert frame["__error"].null_count() == 19


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "answer_start", "qas", "id"]), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([("context",), ("qas",), *(("qas", 0, *rest) for rest in [(), ("id",), ("question",), ("answers",), ("answers", 0)])]),
    _JSON,
)
def test_whatever_one_value_is_the_other_questions_are_read(tmp_path_factory, steps, value):
    path = tmp_path_factory.mktemp("squad") / "rows.json"
    paragraphs = copy.deepcopy(_questions(5))
    target = paragraphs[1]
    for step in steps[:-1]:
        target = target[step]
    target[steps[-1]] = value
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    frame = Squad(path=str(path)).read()
    whole = frame.filter(frame["__error"].is_null())
    assert {"q0", "q2", "q3", "q4"} <= set(whole["id"])
    assert frame.height >= 4 + bool(value or steps != ("qas",))


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"data": [{"title": "x"}]}', '{"data": []}', '{"data": 3}', "[" * 100_000])
def test_what_is_no_squad_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"not a SQuAD file|contains no questions"):
        Squad(path=str(path)).read()


def test_invalid_bytes_cost_their_question(tmp_path):
    path = tmp_path / "rows.json"
    content = json.dumps({"data": [{"paragraphs": _questions()}]}, ensure_ascii=False, indent=1).encode()
    path.write_bytes(content.replace(b"since day 3", b"since d\xb0\xa1 3"))
    frame = Squad(path=str(path)).read()
    assert frame["__error"].is_not_null().arg_true().to_list() == [3]
    assert "not valid in UTF-8" in frame["__error"][3]
