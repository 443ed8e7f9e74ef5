"""On few rows, candidates are compared by cross-validation within the time limit, and every row is held out once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.learning.conftest import method, sentences
from vertune.core import part
from vertune.core.config import Config, build
from vertune.core.errors import ConfigError
from vertune.learning import auto, clock, companion, contrastive, few, racing, session
from vertune.learning.choice import TimeLimit, TrainingGoal
from vertune.learning.examples import encode
from vertune.learning.training_input import TrainingInput

CLASSIFY = part.find("tasks", "classify")


def examples(base, records):
    config = build(Config, {"data": {}, "base": str(base), "task": {"name": "classify", "labels": ["food", "money", "travel"]}})
    return config, encode(records, config.task, config.encoder, config.task.views(["text", "label"]))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 30), min_size=10, max_size=60), st.sampled_from([2, 3, 5]))
def test_folds_are_a_division_in_which_equal_inputs_stay_together(base, chosen, folds):
    pool = sentences(31)
    config, encoded = examples(base, [pool[row] for row in chosen])
    parts = few.divided(encoded, config.task, folds)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(chosen)))
    places: dict[str, set[int]] = {}
    for number, rows in enumerate(parts):
        for row in rows:
            places.setdefault(encoded.records[row]["text"], set()).add(number)
    assert all(len(numbers) == 1 for numbers in places.values())


def test_folds_have_the_proportions_of_the_labels(base):
    records = [{"text": f"the bank {row}", "label": "money" if row < 20 else "food"} for row in range(30)]
    config, encoded = examples(base, records)
    for rows in few.divided(encoded, config.task, 5):
        labels = [records[row]["label"] for row in rows]
        assert (labels.count("money"), labels.count("food")) == (4, 2)


def test_every_row_is_predicted_once_by_a_model_that_did_not_see_it(base, quiet, tmp_path):
    config, encoded = examples(base, sentences(20))
    lesson = TrainingInput(config, config.task, config.encoder, encoded, None, quiet, folder=tmp_path)
    held: list[str] = []

    def fit(goal, given, others):
        texts = {record["text"] for record in given.examples.records}
        assert not texts & {record["text"] for record in others.records}
        held.extend(record["text"] for record in others.records if goal.objective == "contrastive")
        truth = np.array([others.targets.values[row] for row in range(len(others.features))])
        right = np.eye(3)[truth] * 9
        return racing.Outputs(list(right if goal.objective == "contrastive" else -right), 0.1, 8)

    found = few.compare(lesson, encoded, fit, auto.StepTimes(1e-9, 1e-9), TimeLimit(100, clock.now() + 100))
    assert isinstance(found, TrainingGoal)
    assert (found.objective, found.folds) == ("contrastive", 3)
    assert sorted(held) == sorted(record["text"] for record in encoded.records)
    assert {row["name"]: row["value"] for row in found.candidates} == {"probe": 0, "fine-tuning": 0, "contrastive": 1}
    assert [row["kept"] for row in found.candidates] == [False, False, True]
    folds, outputs = few.validated(lesson, encoded, found)
    rows = encoded.subset(np.concatenate(folds))
    assert [record["text"] for record in rows.records] == held
    truth = [rows.targets.values[row] for row in range(len(rows.features))]
    assert np.array_equal(np.argmax(outputs, axis=1), truth)


def test_too_little_time_compares_nothing_and_tells_the_time_that_is_needed(base, quiet):
    config, encoded = examples(base, sentences(20))
    lesson = TrainingInput(config, config.task, config.encoder, encoded, None, quiet)
    speed = auto.StepTimes(1e-3, 1e-3)
    found = few.compare(lesson, encoded, lambda *ignored: pytest.fail("trained"), speed, TimeLimit(1, clock.now() + 1))
    assert isinstance(found, str)
    longer = float(found.split("training.time_limit: ")[1].split()[0])
    calls = []

    def fit(goal, given, others):
        calls.append(goal)
        return racing.Outputs([np.zeros(3) for _ in others.features], 0.1, 8)

    assert isinstance(few.compare(lesson, encoded, fit, speed, TimeLimit(longer, clock.now() + longer)), TrainingGoal)
    assert len(calls) == 3 * 3


def test_less_time_takes_folds_then_candidates_then_the_comparison(base, quiet, monkeypatch):
    config, encoded = examples(base, sentences(20))
    lesson = TrainingInput(config, config.task, config.encoder, encoded, None, quiet)

    def fit(goal, given, others):
        return racing.Outputs([np.eye(3)[0] * (9 if goal.objective == "contrastive" else 0) for _ in others.features], 0.1, 8)

    @cache
    def planned(seconds: float):
        found = few.compare(lesson, encoded, fit, auto.StepTimes(1e-4, 1e-4), TimeLimit(seconds, clock.now() + seconds))
        return None if isinstance(found, str) else (len(found.candidates), found.folds, bool(found.warning))

    def between(more: float, less: float):
        """All that is planned from more time to less, found by halving what lies between two different plans."""
        if planned(more) == planned(less) or more / less < 1.05:
            return [planned(more), planned(less)]
        middle = (more * less) ** 0.5
        return [*between(more, middle), *between(middle, less)]

    for surely, last in ((20, [(0, 0, True)]), (0, [(2, 3, True), (2, 2, True)])):
        monkeypatch.setattr(few, "_SURELY_CONTRASTIVE", surely)
        planned.cache_clear()
        plans = list(dict.fromkeys(between(100.0, 0.02)))
        assert plans[:2] == [(3, 3, False), (3, 2, False)]
        assert plans[2 : 2 + len(last)] == last
        assert plans[-1] is None


def trained(configured, folder, cut=True, **options):
    config, material = configured(rows=36, **options)
    events = []
    data = replace(material, validation=material.validation[:9], cut=cut)
    result = session.train(config, data, session.TrainingFolders(folder), lambda kind, **fields: events.append((kind, fields)))
    return result, events


@pytest.fixture
def short(monkeypatch):
    """Fewer folds, and fewer passes of the contrastive objective."""
    monkeypatch.setattr(few, "_FOLDS", (2,))
    monkeypatch.setattr(contrastive, "EPOCHS", 6.0)


def test_auto_compares_on_few_rows_and_states_what_it_found(configured, tmp_path, monkeypatch, short):
    result, events = trained(configured, tmp_path)
    rows = result.chosen["tried"]
    assert [row["name"] for row in rows][:4] == ["probe", "fine-tuning", "contrastive", "words"]
    assert all(row["seconds"] >= 0 and row["rows"] == 45 for row in rows)
    assert sum(row["kept"] for row in rows) == 1
    named = {"probe": ("head", "labels"), "fine-tuning": ("full", "labels"), "contrastive": ("full", "contrastive")}
    chosen = next(name for name in named if f"candidates, {name} " in result.chosen["why"])
    assert (result.config.method.name, result.config.training.objective) == named[chosen]
    assert result.chosen["refit"] == 45
    assert result.chosen["folds"] == 2
    assert result.metrics["accuracy"] == result.chosen["companion"]["validation"]["mixed"]["accuracy"]
    assert [fields["step"] for kind, fields in events if kind == "comparing"] == list(range(6))

    monkeypatch.setattr(racing, "race", lambda *ignored: pytest.fail("a resumed run compared again"))
    again, _ = trained(configured, tmp_path)
    assert [(row["name"], row["value"]) for row in again.chosen["tried"]] == [(row["name"], row["value"]) for row in rows]
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.parametrize("options", [{"training": {"objective": "labels"}}, {"training": {"epochs": 1}}, {"method": "full"}])
def test_who_asks_for_something_gets_it_without_a_comparison(configured, tmp_path, options):
    result, _ = trained(configured, tmp_path, **options)
    assert "candidates" not in result.chosen
    assert result.chosen["objective"] == "labels"


@pytest.mark.parametrize("name", ["full", pytest.param("top_layers", marks=pytest.mark.matrix), "lora", "bitfit"])
def test_the_contrastive_objective_moves_what_the_method_moves_and_repeats(configured, tmp_path, monkeypatch, name):
    options = {"method": method(name).model_dump(), "training": {"objective": "contrastive", "refit": "never"}}
    runs = [trained(configured, tmp_path / str(row), **options)[0] for row in range(2)]
    assert runs[0].chosen["steps"] == 30
    assert runs[0].config.training.objective == "contrastive"
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].metrics["accuracy"] > 0.5
    for key, value in runs[0].model.state_dict().items():
        assert torch.equal(value, runs[1].model.state_dict()[key]), key


def test_several_labels_are_compared_too(configured, tmp_path, base, short):
    import polars as pl

    task = part.find("tasks", "multilabel")()
    records = task.example(40)
    config = build(Config, {"data": {}, "base": str(base), "task": "multilabel", "device": {"threads": 1, "precision": "float32"}})
    config = config.model_copy(update={"task": task.fit(pl.DataFrame(records))})
    data = session.TrainingData(records[:32], records[32:], ["text", "labels"], cut=True)
    result = session.train(config, data, session.TrainingFolders(tmp_path), lambda kind, **fields: None)
    assert {"probe", "fine-tuning", "contrastive"} <= {row["name"] for row in result.chosen["tried"]}


def test_without_validation_rows_the_folds_measure(configured, tmp_path, short):
    config, material = configured(rows=36)
    data = replace(material, validation=[], cut=False)
    result = session.train(config, data, session.TrainingFolders(tmp_path), lambda kind, **fields: None)
    assert (result.chosen["folds"], "refit" in result.chosen) == (2, False)
    assert result.metrics["accuracy"] > 0.5
    assert result.companion is not None


def test_a_race_that_ends_early_measures_on_the_rows_until_then(configured, tmp_path, monkeypatch, short):
    monkeypatch.setattr(contrastive, "EPOCHS", 1.0)
    monkeypatch.setattr(racing, "_LEAST_ROWS", 20)
    monkeypatch.setattr(racing, "_is_out", lambda score, scores: score.candidate.name != "probe")
    result, _ = trained(configured, tmp_path)
    assert {row["rows"] for row in result.chosen["tried"]} == {23}
    assert "1 of 2 folds of 45 rows" in result.chosen["why"]
    assert (result.config.method.name, result.chosen["folds"], result.chosen["refit"]) == ("head", 2, 45)
    assert result.companion is not None


def test_given_validation_rows_measure_and_are_not_trained_on(configured, tmp_path, short):
    result, _ = trained(configured, tmp_path, cut=False)
    assert not {"folds", "refit"} & set(result.chosen)
    assert len(result.chosen["candidates"]) == 3
    assert {row["rows"] for row in result.chosen["tried"]} == {9}


def test_the_companion_of_folds_scores_no_row_with_words_that_saw_it(configured, quiet):
    """Words that occur in one row each tell nothing about other rows, so their weight must be small."""
    config, _ = configured()
    records = [{"text": f"word{row} term{row}", "label": ["food", "money", "travel"][row % 3]} for row in range(60)]
    encoded = encode(records, config.task, config.encoder, config.task.views(["text", "label"]))
    lesson = TrainingInput(config, config.task, config.encoder, encoded, None, quiet)
    folds = few.divided(encoded, config.task, 5)
    words = companion.fit_in_folds(lesson, encoded, folds)
    rows = encoded.subset(np.concatenate(folds))
    truth = [rows.targets.values[row] for row in range(60)]
    assert (words.scores(rows.records).argmax(axis=1) == truth).mean() < 0.6
    seen = companion._fit(config.task, encoded.records, encoded.features)
    assert (seen.scores(rows.records).argmax(axis=1) == truth).mean() > 0.9


def test_labels_of_one_class_each_are_as_alike_as_classes():
    classes = torch.tensor([0, 2, 2, 1])
    one_hot = torch.eye(3)[classes]
    several = part.find("tasks", "multilabel")(labels=["a", "b", "c"])
    assert torch.equal(several.likeness(one_hot), CLASSIFY(labels=["a", "b", "c"]).likeness(classes))


def test_numbers_have_no_contrastive_objective(configured, tmp_path, base):
    config = build(Config, {"data": {}, "base": str(base), "task": "regress", "method": "full", "training": {"objective": "contrastive"}})
    rows = [{"text": f"the bank {row}", "score": float(row)} for row in range(12)]
    config = config.model_copy(update={"task": config.task.model_copy(update={"mean": 5.0, "spread": 3.0})})
    with pytest.raises(ConfigError, match="contrastive"):
        session.train(config, session.TrainingData(rows, [], ["text", "score"]), session.TrainingFolders(tmp_path), lambda *a, **b: None)
