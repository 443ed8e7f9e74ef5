"""Checks of a release from the answers of two models."""

from __future__ import annotations

import numpy as np
import pytest

from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.evaluation.against_live import Answered, Comparison, Rules, judge

LABELS = [f"intent {number}" for number in range(5)]
TASK = build(Task, {"name": "classify", "labels": LABELS})
RECORDS = [
    {"text": "word " * (1 + row % 9) + str(row), "label": LABELS[row % 5], "channel": "web" if row % 2 else "mail"} for row in range(900)
]


def answers(wrong, sure=0.95, records=RECORDS):
    """Answers that are wrong for these rows."""
    wrong = set(wrong)
    return [
        {"label": LABELS[(LABELS.index(record["label"]) + 1) % 5] if row in wrong else record["label"], "probability": sure}
        for row, record in enumerate(records)
    ]


def verdicts(candidate, live, rules=None, **further):
    sets = [Answered("gold", RECORDS, candidate, live), *(Answered(name, *one) for name, one in further.items())]
    return {check.name: check for check in judge(TASK, sets, rules or Rules()).checks}


def test_equal_answers_pass_on_enough_rows():
    found = verdicts(answers(range(30)), answers(range(30)))
    assert {check.verdict for check in found.values()} == {"pass"}
    assert list(found) == ["gold rows", "labels", "groups of rows", "calibration"]


def test_a_worse_candidate_fails_and_a_better_one_passes():
    assert verdicts(answers(range(90)), answers(range(30)))["gold rows"].verdict == "fail"
    assert verdicts(answers(range(30)), answers(range(90)))["gold rows"].verdict == "pass"


def test_a_label_that_is_lost_fails_though_the_rest_improves():
    lost = range(0, 600, 5)
    found = verdicts(answers(list(lost)[:60]), answers([row for row in range(600) if row % 5 and row % 8 == 0]))
    assert found["gold rows"].verdict != "fail"
    assert found["labels"].verdict == "fail"
    assert "intent 0" in found["labels"].why


def test_a_column_can_name_the_groups():
    bad = [row for row in range(600) if row % 2 and row % 6 == 1]
    found = verdicts(answers(bad), answers([row for row in range(600) if row % 6 == 2]), Rules(columns=("channel", "absent")))
    assert "channel: web" in found["groups of rows"].why


def test_answers_that_are_too_sure_fail():
    found = verdicts(answers(range(60), sure=0.9), answers(range(60), sure=0.9))
    assert found["calibration"].value == 0
    assert verdicts(answers(range(60), sure=0.999), answers(range(60), sure=0.93))["calibration"].verdict == "fail"


def test_new_rows_and_earlier_sets():
    new = RECORDS[:100], answers([], records=RECORDS[:100]), answers(range(30), records=RECORDS[:100])
    worse = RECORDS[:100], answers(range(50), records=RECORDS[:100]), answers([], records=RECORDS[:100])
    found = verdicts(answers(range(9)), answers(range(30)), new=new, first=worse, empty=([], [], []))
    assert found["new rows"].verdict == "pass"
    assert found["earlier sets"].verdict == "fail"
    assert "first" in found["earlier sets"].why


def test_labels_that_one_model_does_not_know_count_as_wrong():
    records = [*RECORDS, *({"text": f"new {row}", "label": "new"} for row in range(40))]
    known = [*answers([]), *({"label": "new", "probability": 0.9} for _ in range(40))]
    unknown = [*answers([]), *({"label": LABELS[0], "probability": 0.9} for _ in range(40))]
    [gold, *_] = judge(TASK, [Answered("gold", records, known, unknown)], Rules()).checks
    assert gold.value == pytest.approx(40 / 940)


def test_a_later_look_is_stricter():
    first, third = (
        Comparison(TASK, Answered("gold", RECORDS, answers(range(40)), answers(range(30))), Rules(look=look)) for look in (1, 3)
    )
    assert third.goal().found.low < first.goal().found.low


def test_copies_of_a_text_add_no_certainty():
    many = RECORDS * 4
    once = Comparison(TASK, Answered("gold", RECORDS, answers(range(40)), answers(range(20))), Rules()).goal()
    copied = Comparison(TASK, Answered("gold", many, answers(range(40)) * 4, answers(range(20)) * 4), Rules()).goal()
    assert (copied.units, copied.found) == (once.units, once.found)


def test_another_metric_is_compared_by_resampling():
    task = TASK.model_copy(update={"metric": "macro_f1"})
    found = Comparison(task, Answered("gold", RECORDS, answers(range(60)), answers(range(30))), Rules())
    goal = found.goal()
    assert found.metric == "accuracy"
    assert goal.found.low < goal.found.value < goal.found.high < 0
    assert goal.found.value == pytest.approx(-30 / 900, abs=0.005)


def test_numbers_are_compared_by_their_errors():
    task = build(Task, {"name": "regress", "metric": "mae", "mean": 0.0, "deviation": 1.0})
    records = [{"text": str(row), "score": float(row % 7)} for row in range(300)]
    noise = np.random.default_rng(0).normal(0, 0.5, (2, 300))
    good, bad = (
        [{"score": record["score"] + float(error)} for record, error in zip(records, row, strict=True)] for row in (noise[0], 3 * noise[1])
    )
    for candidate, live, verdict in ((good, bad, "pass"), (bad, good, "fail")):
        [gold, *_] = judge(task, [Answered("gold", records, candidate, live)], Rules()).checks
        assert (gold.verdict, gold.measure) == (verdict, "number")
        assert gold.limit == pytest.approx(-0.005 * np.mean([abs(a["score"] - r["score"]) for a, r in zip(live, records, strict=True)]))


def test_traffic_needs_labels_only_where_the_models_differ():
    """Texts that both answer alike decide nothing about which is better, but they make the interval narrow."""
    gold = Answered("gold", RECORDS[:150], answers(range(3), records=RECORDS[:150]), answers([5, 6, 7], records=RECORDS[:150]))
    [alone, *_] = judge(TASK, [gold], Rules()).checks
    differing = Answered(
        "traffic", RECORDS[200:210], answers(range(5), records=RECORDS[200:210]), answers(range(5, 10), records=RECORDS[200:210]), 5000
    )
    [both, *_] = judge(TASK, [gold, differing], Rules()).checks
    assert alone.verdict == "unknown"
    assert "on the texts that the models answer differently" in alone.why
    assert both.verdict == "pass"
    assert both.name == "gold rows and traffic"
    assert both.high - both.low < (alone.high - alone.low) / 5
    everything = Answered("gold", RECORDS, answers(range(3)), answers([5, 6, 7]))
    counted = judge(TASK, [everything], Rules()).checks[0]
    only_equal = judge(TASK, [gold, Answered("traffic", [], [], [], 750)], Rules()).checks[0]
    assert (only_equal.value, only_equal.low, only_equal.high) == (counted.value, counted.low, counted.high)


def test_lists_of_labels_and_rankings_are_compared_too():
    sets = build(Task, {"name": "multilabel", "labels": ["a", "b"]})
    records = [{"text": str(row), "labels": ["a"] if row % 2 else []} for row in range(400)]
    right, wrong = (
        [{"labels": labels, "probabilities": {"a": 0.9, "b": 0.1}} for labels in side]
        for side in ([r["labels"] for r in records], [["b"]] * 400)
    )
    found = judge(sets, [Answered("gold", records, right, wrong)], Rules()).checks
    assert found[0].verdict == "pass"
    assert "calibration" not in [check.name for check in found]
    ranking = build(Task, {"name": "embed"})
    pairs = [{"text": f"q{row}", "text_pair": f"d{row}"} for row in range(60)]
    angles = np.linspace(0, np.pi, 60)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    good, bad = (
        [{"vector": query, "vector_pair": document, "score": 0.5} for query, document in zip(vectors, documents, strict=True)]
        for documents in (vectors, vectors[::-1])
    )
    [gold] = judge(ranking, [Answered("gold", pairs, bad, good)], Rules()).checks
    assert (gold.name, gold.verdict) == ("gold rows", "fail")
