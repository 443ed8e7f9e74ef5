from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertune.core.errors import ConfigError, DataError
from vertune.core.kinds import Task
from vertune.decoders import multilabel as decoder
from vertune.tasks.multilabel import Multilabel
from vertune.testing.tasks import features_of

ROWS = [
    {"text": "央行降息，股市上涨", "labels": ["宏观", "股市"]},
    {"text": "股市收盘", "labels": ["股市"]},
    {"text": "油价上涨", "labels": ["能源"]},
    {"text": "降息与油价", "labels": ["宏观", "能源"]},
]


def fitted(rows=ROWS, **options):
    task = Multilabel(**options)
    frame = task.clean(pl.DataFrame(rows)).frame
    return task.fit(frame), frame.to_dicts()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(st.sampled_from(["a", "b c", "d", "e-1"]), unique=True), min_size=1, max_size=6))
def test_a_list_and_a_delimited_string_say_the_same(lists):
    texts = ["x"] * len(lists)
    listed = Multilabel().clean(pl.DataFrame({"text": texts, "labels": lists}, schema={"text": pl.String, "labels": pl.List(pl.String)}))
    joined = Multilabel(separator=" | ").clean(pl.DataFrame({"text": texts, "labels": [" | ".join(labels) for labels in lists]}))
    assert listed.frame["labels"].to_list() == joined.frame["labels"].to_list() == lists


def test_labels_are_trimmed_and_distinct_and_may_be_none():
    cleaned = Multilabel(separator=";").clean(pl.DataFrame({"text": ["x", "y", "z"], "labels": ["b; a;;b ", "", None]}))
    assert cleaned.frame["labels"].to_list() == [["b", "a"], []]
    assert [(note.count, note.of, note.what) for note in cleaned.notes] == [
        (1, 4, "labels are empty and were left out"),  # a blank cell holds no label, not an empty one
        (1, 4, "labels are repeated in their row and were left out"),
        (1, 2, "rows have no label and were kept"),
    ]
    assert [(row["row"], row["reason"]) for row in cleaned.rejected] == [(3, "labels are missing")]


def test_numbers_are_labels_but_measurements_are_not():
    assert Multilabel().clean(pl.DataFrame({"text": ["x"], "labels": [[3, 1]]})).frame["labels"].to_list() == [["3", "1"]]
    assert Multilabel().clean(pl.DataFrame({"text": ["x"], "labels": [3]})).frame["labels"].to_list() == [["3"]]
    with pytest.raises(DataError, match="must contain lists of labels"):
        Multilabel().clean(pl.DataFrame({"text": ["x"], "labels": [0.5]}))


SETS = [["wheel", "urgent"], ["brake"], ["order", "urgent"], ["wheel"], ["brake", "urgent"], ["order"], []]
WAYS = {
    "|": "|".join, "; ": "; ".join, ",": ",".join, "、": "、".join, "；": "；".join, "space": " ".join, "tab": "\t".join,
    "lines": "\n".join,
    "Python": repr, "JSON": json.dumps, "tuple": lambda labels: repr(tuple(labels)), "numpy": lambda labels: str(np.array(labels, str)),
    "words and lists": lambda labels: labels[0] if len(labels) == 1 else json.dumps(labels),
    "set": lambda labels: repr(set(labels)) if labels else "",
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_labels_of_a_cell_are_read_however_they_are_written(way):
    frame = pl.DataFrame({"text": ["x"] * len(SETS) * 3, "labels": [WAYS[way](labels) for labels in SETS] * 3})
    task = Multilabel().resolve(frame)
    assert task.separator != "auto"
    cleaned = task.clean(frame)
    assert [sorted(labels) for labels in cleaned.frame["labels"].to_list()] == [sorted(labels) for labels in SETS] * 3
    assert [note.what for note in cleaned.notes] == ["rows have no label and were kept"]
    one = task.fit(cleaned.frame).clean(frame[:1])  # a single row is read as the training rows were
    assert sorted(one.frame["labels"].to_list()[0]) == ["urgent", "wheel"]


def test_names_that_are_sentences_stay_complete():
    names = ["Refund; I paid twice", "Where is my parcel, please?", "Delivery; it came late", "card lost", "card stolen"]
    frame = pl.DataFrame({"text": ["x"] * 15, "labels": names * 3})
    assert Multilabel().resolve(frame).clean(frame).frame["labels"].to_list() == [[name] for name in names] * 3


@pytest.mark.parametrize("cell", ["{'wheel': 1}", '{"wheel": true}', '[["wheel"]]', "[{'name': 'wheel'}]"])
def test_a_cell_that_is_no_list_is_rejected(cell):
    cleaned = Multilabel().clean(pl.DataFrame({"text": ["x", "y"], "labels": ['["wheel", "brake"]', cell]}))
    assert cleaned.frame["labels"].to_list() == [["wheel", "brake"]]
    assert 'neither a list such as ["a", "b"]' in cleaned.rejected[0]["reason"]


@pytest.mark.parametrize("lists", [[[0, 1, 0], [1, 1, 0]], ["[0, 1, 0]", "[1, 1, 0]"], [[False, True, False]] * 2, [[0.0, 1.0, 0.0]] * 2])
def test_lists_of_zeros_and_ones_are_refused(lists):
    with pytest.raises(DataError, match="3 values 0 or 1, but the names of the labels"):
        Multilabel().clean(pl.DataFrame({"text": ["x", "y"], "labels": lists}))


@pytest.mark.parametrize("labels", [[{"wheel": 1}] * 2, [[["a"]]] * 2, [[{"name": "a"}]] * 2], ids=str)
def test_a_column_that_holds_no_labels_is_refused(labels):
    with pytest.raises(DataError, match="must contain lists of labels"):
        Multilabel().clean(pl.DataFrame({"text": ["x", "y"], "labels": labels}))


def test_the_older_name_of_the_separator_is_read():
    assert Task.model_validate({"name": "multilabel", "delimiter": ";"}) == Multilabel(separator=";")


def test_every_record_gets_a_label_where_every_training_row_has_one():
    task, records = fitted()
    features = features_of(task, records[:1])
    outputs = [np.array([-3.0, -1.0, -2.0], np.float32)]
    assert task.at_least == 1
    assert task.decode(records[:1], features, outputs)[0]["labels"] == [task.labels[1]]
    free, _ = fitted([*ROWS, {"text": "天气", "labels": []}])
    assert free.at_least == 0
    assert free.decode(records[:1], features, outputs)[0]["labels"] == []


def test_labels_stand_in_order_of_their_probability():
    task, records = fitted()
    (answer,) = task.decode(records[:1], features_of(task, records[:1]), [np.array([1.0, 3.0, 2.0], np.float32)])
    assert answer["labels"] == [task.labels[1], task.labels[2], task.labels[0]]
    assert answer["probabilities"][task.labels[1]] == pytest.approx(1 / (1 + np.exp(-3)))


def test_thresholds_are_learnt_on_validation_and_used():
    task, _ = fitted(ROWS * 5, at_least=0)
    records = [{"text": "x", "labels": [task.labels[row % 3]]} for row in range(60)]
    features = features_of(task, records)
    outputs = [np.where(np.arange(3) == row % 3, -2.0, -4.0) for row in range(60)]
    assert task.score(records, task.decode(records, features, outputs))["micro_f1"] == 0
    calibrated = task.calibrate(records, features, outputs)
    assert calibrated.score(records, calibrated.decode(records, features, outputs))["micro_f1"] == 1
    fixed = task.model_copy(update={"threshold": 0.3})
    assert fixed.calibrate(records, features, outputs) == fixed


def test_options_out_of_range_are_refused():
    for options in ({"threshold": 1.5}, {"at_least": -1}, {"separator": 3}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Task.model_validate({"name": "multilabel", **options})


def test_unknown_labels_are_named():
    task, records = fitted()
    with pytest.raises(DataError, match=r"1 row has a label that the task does not have: 'x' \(1\)"):
        task.tally([{**records[0], "labels": ["股市", "x"]}], [{"labels": []}])


def test_the_baseline_learns_chinese():
    task, records = fitted(ROWS * 8)
    found = task.baselines(records, records[:8], records)
    assert task.score(records, found["tfidf"])["micro_f1"] == 1
    usual = {frozenset(answer["labels"]) for answer in found["majority"]}
    assert len(usual) == 1
    assert usual <= {frozenset(row["labels"]) for row in ROWS}


def test_the_worst_errors_are_the_most_surprising_sets():
    task, records = fitted()
    right = [
        {"labels": record["labels"], "probabilities": {label: float(label in record["labels"]) for label in task.labels}}
        for record in records
    ]
    assert task.details(records, right)["errors"] == []
    wrong = [{**right[0], "labels": ["能源"]}, *right[1:]]
    (error,) = task.details(records, wrong)["errors"]
    assert (error["row"], error["expected"], error["answered"]) == (0, ["宏观", "股市"], ["能源"])


def test_what_a_list_of_labels_loses_is_noted():
    cleaned = Multilabel().clean(pl.DataFrame({"text": ["x", "y"], "labels": [[" a", "a", "", None], ["b"]]}))
    assert cleaned.frame["labels"].to_list() == [["a"], ["b"]]
    assert [(note.count, note.of) for note in cleaned.notes] == [(2, 5), (1, 5), (1, 5)]
    assert cleaned.notes[0].examples == ({"row": 1, "value": [" a", "a", "", None]},)


def test_an_answer_in_a_file_keeps_the_probabilities_of_predicted_labels():
    labels = [str(label) for label in range(40)]
    (answer,) = decoder.answers(np.linspace(0.1, 0.9, 40)[None], labels, thresholds=[0.5] * 39 + [0.95], at_least=0)
    low = decoder.answers(np.linspace(0.1, 0.9, 40)[None], labels, thresholds=[0.05] + [0.95] * 39, at_least=0)[0]
    task = Multilabel(labels=labels)
    assert set(task.brief(answer)["probabilities"]) == set(labels[20:])
    assert set(task.brief(low)["probabilities"]) == {"0", *labels[20:]}
    assert sum(task.brief(low)["probabilities"].values()) + task.brief(low)["rest"] == pytest.approx(20)
