from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from vertune.evaluation import scores as measure
from vertune.evaluation.scores import Sample, compare_with_baselines, curves, slices
from vertune.metrics.bootstrap import Tallies, intervals, paired
from vertune.reports.words import limits
from vertune.tasks.classify import Classify
from vertune.tasks.regress import Regress


def said(label, probability=0.9):
    return {"label": label, "probability": probability, "probabilities": {label: probability}, "truncated": False}


@pytest.fixture
def sample():
    random = np.random.default_rng(0)
    records = [
        {
            "text": "x" * int(length),
            "label": str(random.choice(["a", "b", "c"])),
            "channel": None if row % 10 == 0 else f"channel {row % 3}",
        }
        for row, length in enumerate(random.integers(1, 90, 240))
    ]
    return Sample(Classify().fit(pl.DataFrame(records)), records, seed=4)


@pytest.fixture
def answers(sample):
    random = np.random.default_rng(1)
    return [said(record["label"] if random.random() < 0.8 else "a") for record in sample.records]


def test_differences_of_few_rows_stay_within_what_is_possible():
    records = [{"text": str(number), "label": label} for number, label in enumerate("abab")]
    few = Sample(Classify(labels=["a", "b"]), records, seed=1)
    ours, theirs = (few.task.tally(records, [said(label) for label in labels]) for labels in ("abaa", "baab"))
    raw = paired(*(Tallies(few.units(tally), few.task.summarise) for tally in (ours, theirs)), measure.ROUNDS, 1)
    assert max(raw["accuracy"].high, -raw["accuracy"].low) > 1
    found = few.differences(ours, theirs)
    assert found["accuracy"]["value"] == raw["accuracy"].value
    shares = [entry for name, entry in found.items() if limits(name) == (0, 1) and entry["low"] is not None]
    assert len(shares) > 1
    assert all(-1 <= entry["low"] <= entry["value"] <= entry["high"] <= 1 for entry in shares)


def test_metrics_are_the_score_with_its_interval(sample, answers):
    tally = sample.task.tally(sample.records, answers)
    found = sample.metrics(answers, tally)
    expected = intervals(sample.units(tally), sample.task.summarise, measure.ROUNDS, 4, limits)
    assert set(found) == set(sample.task.score(sample.records, answers))
    for name, entry in found.items():
        assert entry["value"] == pytest.approx(expected[name].value)
        assert (entry["low"], entry["high"]) == (expected[name].low, expected[name].high)
        assert entry["low"] <= entry["value"] <= entry["high"]


def test_copies_of_a_text_are_drawn_together(sample):
    several = [{**record, "text": f"{row} {record['text']}"} for row, record in enumerate(sample.records)]
    answers = [said(record["label"] if row % 5 else "a") for row, record in enumerate(several)]
    once = Sample(sample.task, several, 4)
    tripled = Sample(sample.task, several * 3, 4)
    expected = once.metrics(answers, once.task.tally(several, answers))["accuracy"]
    found = tripled.metrics(answers * 3, tripled.task.tally(several * 3, answers * 3))["accuracy"]
    assert found["value"] == pytest.approx(expected["value"])
    assert (found["low"], found["high"]) == pytest.approx((expected["low"], expected["high"]))


@pytest.mark.parametrize(
    ("label", "winner", "sentence"), [("a", "model", "excludes 0"), (None, None, "results are equal"), ("right", "baseline", "worse than")]
)
def test_a_baseline_gets_a_paired_difference_and_a_verdict(sample, answers, label, winner, sentence):
    theirs = {
        "a": [said("a") for _ in answers],
        None: answers,
        "right": [said(record["label"]) for record in sample.records],
    }[label]
    tally = sample.task.tally(sample.records, answers)
    found = compare_with_baselines(sample, tally, {"simple": theirs})
    assert found["verdicts"]["simple"]["winner"] == winner
    assert sentence in found["verdicts"]["simple"]["sentence"]
    summarise = sample.task.summarise
    ours, other = (sample.units(sample.task.tally(sample.records, each)) for each in (answers, theirs))
    expected = paired(Tallies(ours, summarise), Tallies(other, summarise), measure.ROUNDS, 4)["accuracy"]
    assert found["differences"]["simple"]["accuracy"] == {"value": expected.value, "low": expected.low, "high": expected.high}
    assert found["baselines"]["simple"]["accuracy"]["value"] == sample.task.score(sample.records, theirs)["accuracy"]


def test_a_lower_error_wins_where_lower_is_better():
    records = [{"text": "t", "score": float(row % 5)} for row in range(60)]
    task = Regress(metric="mae").fit(pl.DataFrame(records))
    near, far = ([{"score": record["score"] + off, "truncated": False} for record in records] for off in (0.1, 1.0))
    sample = Sample(task, records)
    assert compare_with_baselines(sample, task.tally(records, near), {"far": far})["verdicts"]["far"]["winner"] == "model"
    assert compare_with_baselines(sample, task.tally(records, far), {"near": near})["verdicts"]["near"]["winner"] == "baseline"


def test_slices_divide_the_rows_and_score_each_part(sample, answers):
    tally = sample.task.tally(sample.records, answers)
    found = {part["column"]: part["values"] for part in slices(sample, tally, ["channel"])}
    assert [sum(row["rows"] for row in values) for values in found.values()] == [240, 240]
    assert {row["name"] for row in found["channel"]} == {"channel 0", "channel 1", "channel 2", "(none)"}
    assert len(found["length"]) == 3
    for row in found["channel"]:
        wanted = None if row["name"] == "(none)" else row["name"]
        chosen = [place for place, record in enumerate(sample.records) if record["channel"] == wanted]
        part = sample.task.score([sample.records[place] for place in chosen], [answers[place] for place in chosen])
        assert row["metrics"]["accuracy"]["value"] == pytest.approx(part["accuracy"])


def test_rare_values_share_a_slice(sample, answers):
    for row, record in enumerate(sample.records):
        record["id"] = f"value {row % 40}"
    values = slices(sample, sample.task.tally(sample.records, answers), ["id"])[1]["values"]
    assert len(values) == 13
    assert values[-1]["name"] == "28 other values"
    assert sum(row["rows"] for row in values) == 240


def test_units_wider_than_a_record_and_a_single_value_give_no_slices(sample, answers):
    tally = sample.task.tally(sample.records, answers)
    assert slices(sample, tally[:9], ["channel"]) == []
    same = Sample(sample.task, [{**record, "text": "same", "channel": "one"} for record in sample.records])
    assert slices(same, tally, ["channel"]) == []


def step(at, loss=1.0):
    return {"event": "step", "step": at, "loss": loss}


def test_a_curve_follows_a_resumed_training_and_stops_at_the_refit():
    events = [
        {"event": "training"}, step(1, 9.0),
        {"event": "training"}, step(1, 3.0), step(2, 2.0), {"event": "evaluated", "step": 2, "metric": -0.5}, step(3, 7.0),
        {"event": "training"}, {"event": "resumed", "step": 2}, step(3, 1.5), {"event": "evaluated", "step": 3, "metric": -0.25},
        {"event": "refit"}, {"event": "training"}, step(1, 0.1),
    ]  # fmt: skip
    found = curves(events, sign=-1.0)
    assert found == {"loss": [[1.0, 3.0], [2.0, 2.0], [3.0, 1.5]], "metric": [[2.0, 0.5], [3.0, 0.25]]}


def test_a_long_curve_is_thinned_without_moving_its_mean():
    found = curves([{"event": "training"}, *(step(at, float(at)) for at in range(1, 1001))], points=100)["loss"]
    assert len(found) == 100
    assert np.mean([loss for _, loss in found]) == pytest.approx(500.5)
    assert all(at == pytest.approx(loss) for at, loss in found)


def test_no_events_are_no_curve():
    assert curves([]) == {"loss": [], "metric": []}
