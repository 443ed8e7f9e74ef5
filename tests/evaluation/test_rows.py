"""Scores of single rows, for every kind of task."""

from __future__ import annotations

import numpy as np
import pytest

from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.evaluation import rows

CLASSES = build(Task, {"name": "classify", "labels": ["a", "b", "c"]})
SETS = build(Task, {"name": "multilabel", "labels": ["a", "b"]})
SPANS = build(Task, {"name": "tag", "labels": ["city"]})
NUMBERS = build(Task, {"name": "regress", "mean": 0.0, "deviation": 1.0})


def classes(labels: str) -> list[dict]:
    return [{"label": label, "probability": 0.9, "probabilities": {label: 0.9}} for label in labels]


def sets(*labels: str) -> list[dict]:
    return [{"labels": list(some), "probabilities": {"a": 0.5, "b": 0.5}} for some in labels]


@pytest.mark.parametrize("goal", ["auto", "macro_f1", "mcc"])
def test_a_row_of_classes_is_right_or_wrong(goal):
    task = CLASSES.model_copy(update={"metric": goal})
    records = [{"text": str(row), "label": label} for row, label in enumerate("aabbc")]
    name = rows.row_metric(task, records, classes("aabca"))
    assert name == "accuracy"
    assert rows.row_scores(task, records, classes("aabca"), name).right.tolist() == [True, True, True, False, False]


def test_a_row_without_labels_is_right_if_none_is_answered():
    records = [{"text": "x", "labels": []}, {"text": "y", "labels": ["a"]}, {"text": "z", "labels": ["a", "b"]}]
    answers = sets("", "b", "a")
    assert rows.row_metric(SETS, records, answers) == "samples_f1"
    for name in ("samples_f1", "micro_f1"):
        assert rows.row_scores(SETS, records, answers, name).values == pytest.approx([1, 0, 2 / 3])


def test_a_row_of_spans_has_the_f1_of_its_spans():
    city = {"start": 0, "end": 4, "label": "city"}
    records = [{"text": "Oslo", "spans": [city]}, {"text": "none", "spans": []}, {"text": "Rome", "spans": [city]}]
    answers = [{"spans": [city]}, {"spans": []}, {"spans": []}]
    found = rows.row_scores(SPANS, records, answers, rows.row_metric(SPANS, records, answers))
    assert found.right.tolist() == [True, True, False]


def test_a_number_is_scored_by_its_error():
    records = [{"text": str(row), "score": float(row)} for row in range(4)]
    answers = [{"score": value} for value in (0.0, 1.5, 2.0, 1.0)]
    found = rows.row_scores(NUMBERS, records, answers, rows.row_metric(NUMBERS, records, answers))
    assert found.metric == "mae"
    assert found.values == pytest.approx([0, -0.5, 0, -2])
    assert found.right.tolist() == [True, False, True, False]


def test_a_task_scores_answers_with_labels_of_another_model():
    task = rows.knowing(CLASSES, ["c", "d"])
    records = [{"text": "x", "label": "d"}, {"text": "y", "label": "a"}]
    assert rows.row_scores(task, records, classes("da"), "accuracy").values.tolist() == [1, 1]
    assert rows.row_scores(task, records, classes("cd"), "accuracy").values.tolist() == [0, 0]
    assert task.known_labels == ("a", "b", "c", "d")
    assert rows.knowing(SPANS, ["name"]).known_labels == ("city", "name")
    assert rows.knowing(NUMBERS, ["x"]) is NUMBERS


def test_records_are_grouped_by_the_labels_that_they_must_get():
    records = [{"labels": ["b", "a"]}, {"labels": []}, {"labels": ["a"]}]
    found = rows.by_label(SETS, records)
    assert {label: places.tolist() for label, places in found.items()} == {"a": [0, 2], "b": [0]}
    assert rows.target_labels(SPANS, {"spans": [{"start": 0, "end": 1, "label": "city"}]}) == ("city",)


def test_copies_of_a_text_count_once():
    records = [{"text": "x"}, {"text": "y"}, {"text": "x"}]
    members = rows.same_inputs(CLASSES, records)
    assert rows.unit_means(np.array([1.0, 0.0, 0.0]), members).tolist() == [0.5, 0]
    assert rows.unit_means(np.array([1.0, 0.0]), members[1:]).tolist() == [0, 1]


def test_answers_are_written_in_words():
    record = {"text": "from Oslo"}
    assert rows.answer_text(SPANS, {"spans": [{"start": 5, "end": 9, "label": "city"}]}, record) == "Oslo (city)"
    assert rows.answer_text(SPANS, {"spans": []}, record) == "nothing"
    assert rows.answer_text(SETS, sets("ab")[0], record) == "a, b"
    assert rows.answer_text(NUMBERS, {"score": 1.23456}, record) == "1.235"
    assert rows.disagreements(CLASSES, classes("abc"), classes("aac")).tolist() == [1]
