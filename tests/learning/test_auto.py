from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.learning.conftest import method
from tests.learning.test_loop import lesson_of
from vertune.core import part
from vertune.core.config import Config
from vertune.core.config import build as parse
from vertune.learning import auto, held_out, session
from vertune.learning.auto import StepTimes, Workload
from vertune.learning.optimiser import factor
from vertune.nn.build import build


@pytest.fixture(scope="module")
def model(base):
    config = parse(Config, {"data": {}, "base": str(base), "task": {"name": "classify", "labels": ["a", "b"]}})
    return build(config.encoder, config.task)


@pytest.mark.parametrize(("left", "name", "passes"), [(1000, "full", 4), (100, "full", 2.8), (40, "top_layers", 1.6), (1, None, 0)])
def test_the_deepest_that_fits_is_chosen(model, left, name, passes):
    choice = auto.choose(model, Workload(1000), StepTimes(0.01, 0.03), left, 4.0)
    assert (choice.method.name if choice.method else None) == name
    assert choice.epochs == pytest.approx(passes, abs=0.15)


def test_what_was_chosen_fits_in_the_time(model):
    speed = StepTimes(0.01, 0.03)
    for left in range(1, 200, 7):
        choice = auto.choose(model, Workload(1000), speed, left, 4.0)
        if choice.method:
            share = 1.0 if choice.method.name == "full" else choice.method.n / 2
            assert choice.epochs * Workload(1000).passing(speed, share) <= left


def test_where_nothing_stands_yet_something_is_trained(model):
    choice = auto.choose(model, Workload(1000), StepTimes(0.01, 0.03), 0.0, 4.0, None)
    assert (choice.method.name, choice.method.n) == ("top_layers", 1)
    assert "the top layer can be trained" in choice.why
    assert 0 < choice.epochs < 1
    assert auto.fit_in(method("full"), model, Workload(1000), StepTimes(0.01, 0.03), 0.0, 3).epochs > 0


@pytest.mark.parametrize("name", ["auto", "full"])
def test_a_random_head_is_trained_however_short_the_time(configured, tmp_path, quiet, name):
    config, material = configured(method=name, training={"start": "random", "time_limit": 1e-6})
    assert session.train(config, material, session.TrainingFolders(tmp_path), quiet).chosen["steps"] == 1


def test_a_pass_without_gradients_is_timed_where_no_head_was_solved(configured, quiet):
    config, material = configured()
    speed = auto.measure(build(config.encoder, config.task), lesson_of(config, material, quiet))
    assert 0 < speed.forward < speed.full


@pytest.mark.parametrize(("share", "refit"), [(1.0, "never"), (0.4, "always")])
def test_time_is_kept_for_a_second_training_on_half_as_many_rows_more(configured, tmp_path, quiet, monkeypatch, share, refit):
    config, material = configured(training={"time_limit": 100, "refit": refit, "epochs": 1})
    material.cut = True
    seen = []
    monkeypatch.setattr(auto, "choose", lambda *args, real=auto.choose, **options: seen.append(args[3]) or real(*args, **options))
    session.train(config, material, session.TrainingFolders(tmp_path), quiet)
    assert seen[0] == pytest.approx(100 * share, rel=0.2)


def test_what_was_not_measured_in_time_is_measured_before_it_is_given_up(configured, tmp_path, quiet, monkeypatch):
    config, material = configured(method="auto", training={"epochs": 4, "optimiser": {"rate": 3e-3}})
    monkeypatch.setattr(
        session, "run_loop", lambda model, plan, lesson, real=session.run_loop: real(model, replace(plan, seconds=1e-9), lesson)
    )
    asked = []
    monkeypatch.setattr(
        session, "_is_beaten", lambda config, after, before, short: asked.append(short and after.tally.shape == before.tally.shape)
    )
    session.train(config, material, session.TrainingFolders(tmp_path), quiet)
    assert asked == [True]


@pytest.mark.parametrize(("rows", "lost", "worse"), [(77, 1, False), (77, 12, True), (3000, 40, True), (3000, 0, False)])
def test_training_is_given_up_only_when_it_is_worse_by_more_than_chance(rows, lost, worse):
    task = part.find("tasks", "classify")(labels=["a", "b"])
    truth = [{"text": "", "label": "ab"[row % 2]} for row in range(rows)]
    right = [{"label": record["label"], "probability": 1.0, "probabilities": {}} for record in truth]
    # the trained model errs on some rows of its own, and on as many others as the solved head does
    solved = [{**answer, "label": "b"} if row in range(0, 40, 2) else answer for row, answer in enumerate(right)]
    trained = [{**answer, "label": "a"} if row in range(1, 40 + 2 * lost, 2) else answer for row, answer in enumerate(right)]
    assert held_out.is_worse(task, task.tally(truth, trained), task.tally(truth, solved)) == worse


def test_an_embedder_that_training_makes_worse_is_its_base(base, tmp_path, quiet, monkeypatch):
    records = parse(Config, {"data": {}, "task": "embed"}).task.example(48)
    config = parse(Config, {"data": {}, "base": str(base), "task": "embed", "device": {"threads": 1}, "training": {"epochs": 1}})
    monkeypatch.setattr(session, "is_worse", lambda task, after, before: True)
    material = session.TrainingData(records[:32], records[32:], ["text", "text_pair", "label"], cut=True)
    result = session.train(config, material, session.TrainingFolders(tmp_path), quiet)
    assert "the unchanged base model" in result.chosen["why"]
    assert (result.trained, result.config.method.edits(result.model)) == (0, [])


def test_what_a_kill_left_of_checkpoints_is_gone_from_the_model(tmp_path):
    for name in ("checkpoint", ".checkpoint.old", ".checkpoint.12ab34cd", "refit"):
        (tmp_path / name).mkdir()
    session.remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_auto_does_what_was_chosen_first(configured, tmp_path, monkeypatch, quiet):
    config, material = configured(training={"epochs": 1})
    first = session.train(config, material, session.TrainingFolders(tmp_path), quiet)
    monkeypatch.setattr(auto, "measure", lambda *ignored: pytest.fail("measured again"))
    again = session.train(config, material, session.TrainingFolders(tmp_path), quiet)
    assert [{**entry, "seconds": 0, "milliseconds": 0} for entry in again.chosen.pop("tried")] == [
        {**entry, "seconds": 0, "milliseconds": 0} for entry in first.chosen.pop("tried")
    ]
    assert {**again.chosen, "seconds": 0, "examples_per_second": 0} == {**first.chosen, "seconds": 0, "examples_per_second": 0}


def test_a_method_that_was_asked_for_gets_the_passes_that_fit(model):
    speed = StepTimes(0.01, 0.03)
    assert auto.fit_in(method("full"), model, Workload(1000), speed, 1000, 3).epochs == 3
    assert auto.fit_in(method("full"), model, Workload(1000), speed, 30, 3).epochs == pytest.approx(0.85)


@settings(max_examples=50)
@given(st.sampled_from(["linear", "cosine", "constant"]), st.floats(0, 0.5), st.integers(1, 500))
def test_rates_rise_then_never_rise_again(schedule, warmup, steps):
    values = [factor(schedule, warmup, step, steps) for step in range(steps)]
    assert all(0 <= value <= 1 for value in values)
    rise = round(warmup * steps)
    assert values[:rise] == sorted(values[:rise])
    assert values[rise:] == sorted(values[rise:], reverse=True)
    assert rise == steps or values[rise] == 1
