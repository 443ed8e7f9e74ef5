"""Records with choices and numbers, as each annotation tool exports them, become rows with their fields and answers."""

from __future__ import annotations

import csv
import io
import json

import pytest

from vertune.core.config import source_of
from vertune.core.errors import DataError
from vertune.sources import _answered
from vertune.sources.annotations import Annotations
from vertune.tasks.classify import Classify

ROWS = [("Good food", ["good"]), ("他说好", ["good", "其他, 等"]), ("Bad", ["bad"])]


def _task(text, results, **more):
    return {"id": 1, "data": {"text": text}, "annotations": [{"result": results, "lead_time": 2.5, "ground_truth": False, **more}]}


def _chosen(labels, name="label"):
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": labels}}


def _lines(values):
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def _categories(labels):
    return {"cats": {name: float(name in labels) for name in ("good", "bad", "其他, 等")}}


def _csv(rows):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["annotation_id", "id", "label", "text"])
    for number, (text, labels) in enumerate(rows):
        cell = labels[0] if len(labels) == 1 else json.dumps({"choices": labels}, ensure_ascii=False)
        writer.writerow([number, number, cell, text])
    return buffer.getvalue()


EXPORTS = {
    "label_studio.json": lambda rows: json.dumps([_task(text, [_chosen(labels)]) for text, labels in rows]),
    "label_studio_min.json": lambda rows: json.dumps(
        [
            {"text": text, "id": 1, "annotation_id": 2, "label": labels[0] if len(labels) == 1 else {"choices": labels}}
            for text, labels in rows
        ]
    ),
    "argilla.json": lambda rows: json.dumps(
        [{"id": "1", "fields": {"text": text}, "metadata": {"source": "web"}, "suggestions": {}, "vectors": {}, "status": "completed",
          "responses": {"label": [{"value": labels, "user_id": "0a"}]}} for text, labels in rows]
    ),
    "argilla_flat.json": lambda rows: json.dumps(
        [{"id": "1", "status": "completed", "text": text, "label.responses": [labels], "label.responses.users": ["0a"],
          "label.responses.status": ["submitted"], "label.suggestion": "bad", "label.suggestion.score": 0.4} for text, labels in rows]
    ),
    "prodigy.jsonl": lambda rows: _lines(
        {"text": text, "options": [{"id": "good", "text": "good"}], "accept": labels, "answer": "accept"} for text, labels in rows
    ),
    "spacy.json": lambda rows: json.dumps([[text, _categories(labels)] for text, labels in rows]),
    "spacy.jsonl": lambda rows: _lines([text, _categories(labels)] for text, labels in rows),
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    def write(content, name="rows.json"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", EXPORTS)
def test_every_tool_gives_the_same_rows(name, file):
    path = file(EXPORTS[name](ROWS), name)
    assert source_of(path)["name"] == "annotations"
    frame = Annotations(path=path).read()
    assert list(frame.select("text", "label").iter_rows()) == ROWS
    assert frame["__error"].null_count() == 3


@pytest.mark.parametrize("name", EXPORTS)
def test_one_label_for_each_record_is_what_classify_reads(name, file):
    rows = [(text, labels[:1]) for text, labels in ROWS]
    path = file(EXPORTS[name](rows), name)
    frame = Annotations(path=path).read()
    assert Classify().clean(frame).frame["label"].to_list() == ["good", "good", "bad"]


def test_choices_of_a_csv_file_are_lists(file):
    path = file(_csv(ROWS), "rows.csv")
    assert source_of(path)["name"] == "annotations"
    assert Annotations(path=path).read()["label"].to_list() == [labels for _, labels in ROWS]


def test_numbers_and_several_questions_have_columns_of_their_own(file):
    results = [_chosen(["good"], "tone"), {"from_name": "score", "type": "number", "value": {"number": 3.5}},
               {"from_name": "stars", "type": "rating", "value": {"rating": 4}}]  # fmt: skip
    frame = Annotations(path=file(json.dumps([_task("x", results, created_username="ada")]))).read()
    assert frame.select("tone", "score", "stars", "lead_time", "created_username").row(0) == (["good"], 3.5, 4, 2.5, "ada")


def test_records_without_an_answer_have_a_reason(file):
    good = _task("x", [_chosen(["good"])])
    skipped = _task("y", [_chosen(["bad"])], was_cancelled=True)
    both = {"data": {"text": "z"}, "annotations": [good["annotations"][0], {"result": []}]}
    frame = Annotations(path=file(json.dumps([good, good, both, skipped]))).read()
    assert frame["label"].to_list()[:3] == [["good"]] * 3
    assert frame["__error"].to_list() == [None, None, None, "has no choice and no number", "is no record with answers"]


def test_responses_that_are_drafts_are_not_labels(file):
    draft = {"value": ["bad"], "user_id": "0b", "status": "draft"}
    record = {"fields": {"text": "x"}, "responses": {"label": [{"value": ["good"], "user_id": "0a", "status": "submitted"}, draft]}}
    nothing = {"fields": {"text": "y"}, "responses": {"label": []}}
    frame = Annotations(path=file(json.dumps([record, record, nothing]))).read()
    assert frame["__error"].to_list() == [None, "has a response that is draft"] * 2 + ["has not been annotated"]
    flat = [
        {"text": "x", "label.responses": ["a", "b"], "label.responses.status": ["submitted", "discarded"]},
        {"text": "y", "label.responses": None},
    ]
    frame = Annotations(path=file(json.dumps(flat))).read()
    assert frame["label"].to_list() == ["a", "b", None]
    assert frame["__error"].to_list() == [None, "has a response that is discarded", "has not been annotated"]


def test_rejected_answers_of_prodigy_are_no_labels(file):
    lines = [{"text": "x", "accept": ["a"], "answer": answer} for answer in ("accept", "reject", "ignore")]
    frame = Annotations(path=file(_lines(lines), "rows.jsonl")).read()
    assert frame["__error"].to_list() == [None, "has the answer 'reject' of its annotator", "has the answer 'ignore' of its annotator"]


def test_spans_of_argilla_are_spans(file):
    spans = [{"start": 0, "end": 3, "label": "PER"}]
    values = [
        {"fields": {"text": text}, "responses": {"spans": [{"value": value, "user_id": "0a"}]}}
        for text, value in [("Ada", spans), ("no", [])]
    ]
    frame = Annotations(path=file(json.dumps(values))).read()
    assert frame["spans"].to_list() == [spans, []]


def test_tasks_with_spans_keep_being_spans(file):
    region = {"from_name": "label", "type": "labels", "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}}
    frame = Annotations(path=file(json.dumps([_task("Ada", [region]), _task("none", [])]))).read()
    assert frame["spans"].to_list() == [[{"start": 0, "end": 3, "label": "PER"}], []]


def test_choices_beside_spans_are_kept(file):
    region = {"from_name": "ner", "type": "labels", "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}}
    frame = Annotations(
        path=file(json.dumps([_task("Ada", [region, _chosen(["good"], "tone")]), _task("none", [_chosen(["bad"], "tone")])]))
    ).read()
    assert frame["spans"].list.len().to_list() == [1, 0]
    assert frame["tone"].to_list() == [["good"], ["bad"]]
    pairs = [["Ada", {"entities": [[0, 3, "PER"]], "cats": {"x": 1.0, "y": 0.0}}], ["no", {"entities": [], "cats": {"x": 0.0, "y": 0.0}}]]
    frame = Annotations(path=file(json.dumps(pairs))).read()
    assert frame["label"].to_list() == [["x"], []]


def test_a_file_of_tasks_without_any_answer_is_refused(file):
    with pytest.raises(DataError, match="none of its 1 records"):
        Annotations(path=file(json.dumps([{"data": {"text": "x"}, "annotations": []}]))).read()


@pytest.mark.parametrize(
    "value",
    [None, 3, "x", [], ["x"], ["x", {}], ["x", {"cats": {}, "entities": [[0, 1, "x"]]}], {}, {"text": "x"}, {"text": "x", "accept": "y"},
     {"annotation_id": 1, "text": "x", "label": "y"}, {"annotation_id": 1, "label": '{"choices": '}, {"data": {}, "annotations": [3]},
     {"data": {"text": "x"}, "annotations": [{"result": [{"value": 3}, 4]}]}, {"fields": {}, "text": "x"}],
)  # fmt: skip
def test_other_records_have_another_form(value):
    assert _answered.convert(value) is None
