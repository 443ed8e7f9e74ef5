"""Tasks that read the fields which `inputs` names, instead of texts."""

from __future__ import annotations

import json

import polars as pl
import pytest

from vertune.core.config import dump
from vertune.core.errors import ConfigError, DataError
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.core.records import View

INPUTS = {"age": "number", "job": "category"}


def task(name: str = "classify", **options) -> Task:
    return build(Task, {"name": name, "inputs": INPUTS, **options})


@pytest.mark.parametrize("name", ["classify", "multilabel", "regress"])
def test_the_columns_are_those_that_the_options_name(name):
    plain, typed = build(Task, name), task(name)
    assert [(column.name, column.type) for column in typed.input_columns] == list(INPUTS.items())
    assert typed.target_columns == plain.target_columns
    assert [column.name for column in plain.input_columns] == ["text", "text_pair"]
    assert type(typed).columns == plain.columns, "the class keeps its own"
    assert typed.views(["age", "job"]) == (View("record", ("age", "job"), types=("number", "category")),)


def test_two_texts_under_other_names_are_one_view_with_windows():
    assert build(Task, {"name": "classify", "inputs": {"title": "text", "body": "text"}}).views(["title", "body"]) == (
        View("text", ("title", "body"), windows=True),
    )


def test_the_columns_survive_fitting_copying_and_json():
    frame = pl.DataFrame({"age": [1.0, 2.0], "job": ["a", "b"], "label": ["x", "y"]})
    fitted = task().fit(frame)
    again = Task.model_validate(json.loads(json.dumps(dump(fitted))))
    assert again == fitted
    assert [column.name for column in again.columns] == ["age", "job", "label"]


def test_numbers_are_parsed_categories_are_words_and_both_may_be_missing():
    frame = pl.DataFrame(
        {
            "age": ["30", None, " 41.5 ", "old", None, "inf"],
            "job": ["cook", " nurse", "", "cook", None, "cook"],
            "label": ["a", "b", "a", "b", "a", "b"],
        }
    )
    cleaned = task().clean(frame)
    assert cleaned.frame.select("age", "job").rows() == [(30.0, "cook"), (None, "nurse"), (41.5, None)]
    assert [(row["row"], row["reason"]) for row in cleaned.rejected] == [
        (4, "age is 'old', which is not a finite number"),
        (5, "all inputs are empty"),
        (6, "age is 'inf', which is not a finite number"),
    ]
    (note,) = cleaned.notes
    assert (note.count, note.examples[0]["value"]) == (1, " nurse")
    assert task().clean(cleaned.frame).frame.equals(cleaned.frame)


def test_numbered_categories_are_the_same_words_however_they_were_read():
    whole, gaps = pl.DataFrame({"age": [1, 2], "job": [3, 4]}), pl.DataFrame({"age": [1, 2, 5], "job": [3.0, None, 4.0]})
    assert task().clean(whole).frame["job"].to_list() == ["3", "4"]
    assert task().clean(gaps).frame["job"].to_list() == ["3", None, "4"]


def test_a_field_that_is_missing_holds_words_or_has_the_name_of_the_answer_is_refused():
    with pytest.raises(DataError, match="no column 'job', which the task 'classify' needs"):
        task().clean(pl.DataFrame({"age": [1]}))
    with pytest.raises(DataError, match="contains words such as 'old'"):
        task().clean(pl.DataFrame({"age": ["old"], "job": ["cook"]}))
    with pytest.raises(ConfigError, match="has an input named 'label', but the field that the task predicts has the same name"):
        task(inputs={"label": "number"})


def test_baselines_read_the_fields_as_one_text():
    records = [{"age": float(row), "job": "cook" if row % 2 else "nurse", "label": "ab"[row % 2]} for row in range(40)]
    fitted = task().fit(pl.DataFrame(records))
    answers = fitted.baselines(records[:30], records[30:35], records[35:])["tfidf"]
    assert fitted.score(records[35:], answers)["accuracy"] == 1.0
