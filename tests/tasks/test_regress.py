from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from vertune.core.errors import ConfigError, DataError
from vertune.core.kinds import Task
from vertune.tasks.regress import Regress
from vertune.testing.tasks import features_of

ROWS = [{"text": text, "score": score} for text, score in (("a", 1.0), ("b", 2.0), ("c", 6.0))]


def fitted(rows=ROWS, **options):
    task = Regress(**options)
    frame = task.clean(pl.DataFrame(rows)).frame
    return task.fit(frame), frame.to_dicts()


def test_targets_are_standardised_and_answers_are_not():
    task, records = fitted()
    features = features_of(task, records)
    targets = task.targets(records, features).values
    assert np.mean(targets) == pytest.approx(0, abs=1e-6)
    assert np.std(targets) == pytest.approx(1)
    answers = task.decode(records, features, [np.array([value], np.float32) for value in targets])
    assert [answer["score"] for answer in answers] == pytest.approx([1, 2, 6])


def test_answers_keep_to_the_bounds():
    task, records = fitted(bounds=(1.5, 5))
    answers = task.decode(records, features_of(task, records), [np.array([value]) for value in (-9.0, 0.0, 9.0)])
    assert [answer["score"] for answer in answers] == pytest.approx([1.5, 3, 5])
    with pytest.raises(ConfigError, match="the first number must be less than the second"):
        Task.model_validate({"name": "regress", "bounds": [3, 3]})


@pytest.mark.parametrize("values", [["1", " 2.5 ", "1e1"], [1, 2.5, 10], [True, False, True]])
def test_numbers_are_read_however_they_are_written(values):
    cleaned = Regress().clean(pl.DataFrame({"text": ["x", "y", "z"], "score": values}, strict=False))
    assert cleaned.frame["score"].dtype == pl.Float64
    assert not cleaned.rejected


def test_rows_without_a_finite_number_are_rejected_with_what_they_say():
    scores = ["1", "inf", "nan", "n/a", "", None]
    cleaned = Regress().clean(pl.DataFrame({"text": list("abcdef"), "score": scores}))
    assert [row["reason"] for row in cleaned.rejected] == [
        "score is 'inf', which is not a finite number",
        "score is 'nan', which is not a finite number",
        "score is 'n/a', which is not a finite number",
        "score is missing",
        "score is missing",
    ]
    infinite = Regress().clean(pl.DataFrame({"text": ["x", "y"], "score": [float("nan"), 1.0]}))
    assert infinite.rejected[0]["values"]["score"] == "nan", "JSON has no NaN"


def test_words_are_sent_to_classify():
    with pytest.raises(DataError, match=r"words such as 'good'.*To predict words, use `task: classify`"):
        Regress().clean(pl.DataFrame({"text": ["x"], "score": ["good"]}))


def test_scores_that_are_all_equal_teach_nothing():
    with pytest.raises(DataError, match="All 3 training rows have the value 4 in the column 'score'"):
        fitted([{"text": text, "score": 4.0} for text in "abc"])


def test_the_worst_errors_are_the_furthest_off():
    task, records = fitted()
    details = task.details(records, [{"score": 1.0}, {"score": 1.5}, {"score": 2.0}])
    assert [(row["row"], row["error"]) for row in details["errors"]] == [(2, -4.0), (1, -0.5)]
    assert details["spearman"] == pytest.approx(1)
    assert details["points"] == [[1, 1], [2, 1.5], [6, 2]]


def test_a_lower_error_is_better():
    task, records = fitted(metric="rmse")
    assert task.goal in task.lower_is_better
    near = task.score(records, [{"score": 1.0}, {"score": 2.0}, {"score": 5.0}])
    far = task.score(records, [{"score": 6.0}, {"score": 2.0}, {"score": 1.0}])
    assert near["rmse"] < far["rmse"]
    assert near["pearson"] > far["pearson"]
