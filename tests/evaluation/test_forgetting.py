"""What a retrained model has forgotten, by slice and label."""

import json

import numpy as np
import pytest

from vertune.evaluation.forgetting import forgetting
from vertune.tasks.classify import Classify
from vertune.tasks.regress import Regress
from vertune.tasks.tag import Tag


def answers(labels):
    return [{"label": label, "probability": 0.9, "probabilities": {}, "truncated": False} for label in labels]


def test_accuracy_of_each_slice_and_label_before_and_after():
    truth = ["a"] * 40 + ["b"] * 40 + ["c"] * 20
    records = [{"text": str(number), "label": label} for number, label in enumerate(truth)]
    before = answers(["a"] * 40 + ["b"] * 40 + ["a"] * 20)
    after = answers(["b"] * 10 + ["a"] * 30 + ["b"] * 40 + ["c"] * 20)
    slices = {"first": np.arange(80), "round 1": np.arange(80, 100), "nothing": np.arange(0)}
    found = forgetting(Classify(labels=["a", "b", "c"]), records, (before, after), slices)
    assert found["metric"] == "accuracy"
    first, second = found["slices"]
    assert (first["name"], first["rows"], first["before"], first["after"]) == ("first", 80, 1.0, 0.875)
    assert first["change"] == pytest.approx(-0.125)
    assert first["low"] < -0.125 < first["high"] < 0
    assert (second["before"], second["after"]) == (0.0, 1.0)
    assert {entry["name"]: round(entry["change"], 3) for entry in found["labels"]} == {"a": -0.25, "b": 0.0, "c": 1.0}


def test_an_answer_with_a_label_that_the_new_task_does_not_know_counts_as_wrong():
    records = [{"text": "1", "label": "a"}, {"text": "2", "label": "a"}]
    found = forgetting(Classify(labels=["a", "b"]), records, (answers(["retired", "a"]), answers(["a", "a"])), {"all": np.arange(2)})
    assert (found["slices"][0]["before"], found["slices"][0]["after"]) == (0.5, 1.0)


def test_the_interval_of_few_rows_ends_where_a_share_does():
    def spans(*starts):
        return [{"start": start, "end": start + 3, "label": "name"} for start in starts]

    records = [{"text": f"ann bob {number}", "spans": spans(0, 4)} for number in range(3)]
    before, after = (
        [{"spans": spans(*starts), "truncated": False} for starts in side] for side in ([(), (0, 4), (0,)], [(0, 4), (), (0, 4)])
    )
    found = forgetting(Tag(labels=["name"]), records, (before, after), {"all": np.arange(3)})
    (entry,) = found["slices"]
    assert (found["metric"], entry["change"]) == ("recall", pytest.approx(1 / 6))
    assert (entry["low"], entry["high"]) == (-1, 1)


def test_one_row_has_no_interval_that_a_manifest_could_not_hold():
    records = [{"text": str(number), "score": float(number)} for number in range(4)]
    before, after = ([{"score": number + error, "truncated": False} for number in range(4)] for error in (1.0, 1.5))
    found = forgetting(Regress(mean=0.0, deviation=1.0), records, (before, after), {"first": np.arange(3), "round 1": np.arange(3, 4)})
    assert (found["slices"][1]["low"], found["slices"][1]["high"]) == (None, None)
    assert found["slices"][1]["change"] == pytest.approx(0.5)
    json.dumps(found, allow_nan=False)


def test_errors_of_numbers_are_shown_as_they_are():
    records = [{"text": str(number), "score": float(number)} for number in range(10)]
    before, after = ([{"score": number + error, "truncated": False} for number in range(10)] for error in (1.0, 3.0))
    found = forgetting(Regress(mean=0.0, deviation=1.0), records, (before, after), {"all": np.arange(10)})
    (entry,) = found["slices"]
    assert found["metric"] in ("mae", "rmse")
    assert (entry["before"], entry["after"], entry["change"]) == pytest.approx((1.0, 3.0, 2.0))
    assert not found["labels"]
