from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from vertune.core.errors import ConfigError, DataError, UnknownName
from vertune.decoders import classify as decoder
from vertune.tasks.classify import Classify
from vertune.testing.tasks import features_of

ROWS = [{"text": "一", "label": "b"}, {"text": "二", "label": "a"}, {"text": "三", "label": "a"}, {"text": "四", "label": "a"}]


def fitted(rows=ROWS, **options):
    task = Classify(**options)
    frame = task.clean(pl.DataFrame(rows)).frame
    return task.fit(frame), frame.to_dicts()


def test_labels_are_learnt_in_order_with_their_counts():
    task, _ = fitted()
    assert (task.labels, task.counts) == (["a", "b"], [3, 1])
    assert fitted([{"text": "x", "label": label} for label in (10, 2, 1)])[0].labels == ["1", "2", "10"]
    listed, _ = fitted(labels=["b", "a", "c"])
    assert (listed.labels, listed.counts) == (["b", "a", "c"], [1, 3, 0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 1], ["0", "1", "1"]),
        ([True, False, True], ["true", "false", "true"]),
        ([0.0, 1.0, 1.0], ["0", "1", "1"]),
        ([" a", "b ", "a"], ["a", "b", "a"]),
    ],
)
def test_labels_become_words(values, expected):
    cleaned = Classify().clean(pl.DataFrame({"text": ["x", "y", "z"], "label": values}))
    assert cleaned.frame["label"].to_list() == expected


@pytest.mark.parametrize("values", [[0.5, 1.0, 2.25], ["0.5", "1", "2.25"]])
def test_measurements_are_no_classes_unless_they_are_listed(values):
    frame = pl.DataFrame({"text": ["x", "y", "z"], "label": values})
    with pytest.raises(DataError, match=r"numbers such as 0\.5.*task: regress"):
        Classify().clean(frame)
    listed = [str(value) for value in values]
    assert Classify(labels=listed).clean(frame).frame["label"].to_list() == listed


def test_whole_numbers_with_a_gap_stay_whole():
    cleaned = Classify().clean(pl.DataFrame({"text": ["x", "y", "z"], "label": [0.0, None, 2.0]}))
    assert cleaned.frame["label"].to_list() == ["0", "2"]
    assert cleaned.rejected == [{"row": 2, "reason": "label is missing", "values": {"text": "y", "label": None}}]


def test_bad_rows_are_rejected_with_their_values():
    frame = pl.DataFrame(
        {"text": ["x", " \u3000", None, "y"], "label": ["a", "b", "c", " "], "__row": [1, 2, 3, 4], "__file": ["f.csv"] * 4}
    )
    cleaned = Classify().clean(frame)
    assert cleaned.frame.select("text", "label").rows() == [("x", "a")]
    assert [(row["row"], row["file"], row["reason"]) for row in cleaned.rejected] == [
        (2, "f.csv", "text is empty"), (3, "f.csv", "text is empty"), (4, "f.csv", "label is missing"),
    ]  # fmt: skip
    assert cleaned.rejected[2]["values"] == {"text": "y", "label": " "}


def test_one_class_only_says_so():
    with pytest.raises(DataError, match="at least two different labels in the training rows, but of these rows, all have the label 'a'"):
        fitted(ROWS[1:])


def test_unknown_labels_are_named_with_their_rows():
    task, records = fitted()
    strange = [*records, {"text": "x", "label": "c"}, {"text": "y", "label": "c"}, {"text": "z", "label": "d"}]
    with pytest.raises(
        DataError, match=r"3 rows have labels that the task does not have: 'c' \(2\), 'd' \(1\)\. The labels of the task are: a, b"
    ):
        task.targets(strange, features_of(task, strange))
    with pytest.raises(DataError, match="The labels in the config are: a, c"):
        fitted(labels=["a", "c"])


def test_imbalance_is_weighed_only_for_metrics_that_count_classes_the_same():
    assert fitted()[0].imbalance == "none"
    assert fitted(metric="macro_f1")[0].imbalance == "weight"
    assert fitted(ROWS[:3], metric="macro_f1")[0].imbalance == "none", "2 to 1 is near enough"
    assert fitted(metric="macro_f1", imbalance="none")[0].imbalance == "none"


def test_weights_are_those_of_scikit_learn_and_one_on_average():
    task, records = fitted(imbalance="weight")
    features = features_of(task, records)
    truth = [record["label"] for record in records]
    balanced = dict(zip("ab", compute_class_weight("balanced", classes=np.array(["a", "b"]), y=np.array(truth)), strict=True))
    weights = task.targets(records, features).weights
    assert weights == pytest.approx([balanced[label] for label in truth])
    assert weights.mean() == pytest.approx(1)
    assert fitted()[0].targets(records, features).weights is None


def test_resampling_visits_every_class_as_often():
    task, records = fitted(imbalance="resample")
    visits = task.sampling(records)
    assert visits.sum() == pytest.approx(len(records))
    assert visits[0] == pytest.approx(visits[1:].sum())
    assert fitted()[0].sampling(records) is None


def test_windows_are_averaged_by_their_tokens():
    task, _ = fitted()
    features = features_of(task, [{"text": "一二三四五"}], room=3)
    sizes = np.array([feature.cost for feature in features])
    assert len(features) == 5
    assert len(set(sizes.tolist())) > 1
    outputs = [np.array([float(row), 0.0]) for row in range(5)]
    (answer,) = task.decode([{"text": "一二三四五"}], features, outputs)
    expected = sizes @ (1 / (1 + np.exp(-np.arange(5.0)))) / sizes.sum()
    assert answer["probabilities"]["a"] == pytest.approx(expected)
    assert answer["label"] == "a"


def test_probabilities_of_extreme_outputs_are_finite():
    task, records = fitted()
    features = features_of(task, records[:1])
    (answer,) = task.decode(records[:1], features, [np.array([1e4, -1e4], np.float32)])
    assert answer == {"label": "a", "probability": 1.0, "probabilities": {"a": 1.0, "b": 0.0}, "truncated": False}


def test_f1_looks_at_the_positive_class():
    answers = [{"label": label, "probability": 1.0, "probabilities": {}, "truncated": False} for label in ("b", "b", "a", "a")]
    task, records = fitted()
    assert task.positive == "b"
    assert task.score(records, answers)["f1"] == pytest.approx(2 / 3)
    other, _ = fitted(positive="a")
    assert other.score(records, answers)["f1"] == pytest.approx(4 / 5)
    with pytest.raises(UnknownName, match=r"no label 'bb'\. Did you mean 'b'"):
        fitted(positive="bb")


def test_f1_of_three_classes_needs_to_know_which():
    rows = [*ROWS, {"text": "x", "label": "c"}]
    with pytest.raises(ConfigError, match="positive: LABEL"):
        fitted(rows, metric="f1")
    assert "f1" not in fitted(rows)[0].summarise(np.zeros(9))
    assert "f1" in fitted(rows, metric="f1", positive="c")[0].summarise(np.zeros(9))


def test_two_texts_where_the_data_has_two():
    rows = [{"text": "a", "text_pair": "b", "label": "x"}, {"text": "a", "text_pair": None, "label": "y"}]
    task, records = fitted(rows)
    assert task.views(["text", "text_pair"])[0].fields == ("text", "text_pair")
    assert task.views(["text"])[0].fields == ("text",)
    assert [record["text_pair"] for record in records] == ["b", ""]


def test_the_worst_errors_are_the_most_confident_ones():
    task, records = fitted()
    sure = (0.6, 0.9, 0.7, 0.8)
    answers = [{"label": "b", "probability": p, "probabilities": {"a": 1 - p, "b": p}, "truncated": False} for p in sure]
    details = task.details(records, answers)
    assert [(row["row"], row["text"], row["expected"], row["answered"]) for row in details["errors"]] == [
        (1, "二", "a", "b"), (3, "四", "a", "b"), (2, "三", "a", "b"),
    ]  # fmt: skip
    assert details["confusion"] == {"labels": ["a", "b"], "cells": [[0, 1, 3], [1, 1, 1]]}
    assert sum(row["count"] for row in details["calibration"]["bins"]) == 4


def test_a_column_of_lists_is_sent_to_multilabel():
    with pytest.raises(DataError, match="task: multilabel"):
        Classify().clean(pl.DataFrame({"text": ["x"], "label": [["a", "b"]]}))
    with pytest.raises(DataError, match="must contain texts"):
        Classify().clean(pl.DataFrame({"text": [["x"]], "label": ["a"]}))


def test_lists_of_one_label_are_labels():
    """doccano, Label Studio and Argilla write lists also where each record has one label."""
    cleaned = Classify().clean(pl.DataFrame({"text": ["x", "y", "z"], "label": [["a, b"], ["c"], []]}))
    assert cleaned.frame["label"].to_list() == ["a, b", "c"]
    assert [row["reason"] for row in cleaned.rejected] == ["label is missing"]
    assert Classify().clean(pl.DataFrame({"text": ["x"], "label": [[3]]})).frame["label"].to_list() == ["3"]


def test_a_label_that_is_listed_twice_is_refused():
    with pytest.raises(ConfigError, match="lists a more than once"):
        fitted(labels=["a", "b", "a"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 60), st.integers(0, 9))
def test_an_answer_in_a_file_has_few_probabilities_and_their_sum(count, seed):
    labels = [str(label) for label in range(count)]
    probabilities = np.random.default_rng(seed).dirichlet(np.full(count, 0.3), size=1)
    (answer,) = decoder.answers(probabilities, labels)
    brief = Classify(labels=labels).brief(answer)
    assert len(brief["probabilities"]) == min(count, 20)
    assert sum(brief["probabilities"].values()) + brief.get("rest", 0) == pytest.approx(1)
    assert max(answer["probabilities"].values()) == brief["probabilities"][answer["label"]]
    assert min(brief["probabilities"].values()) >= sorted(answer["probabilities"].values())[-min(count, 20)]
    assert ("rest" in brief) == (count > 20)
    assert {name: brief[name] for name in ("label", "probability", "truncated")} == {
        name: answer[name] for name in ("label", "probability", "truncated")
    }
