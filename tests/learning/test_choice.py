"""What a time limit prevents is told, with the limit that would allow it, and the better model is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.learning.conftest import method
from vertune.core import part
from vertune.core.config import Config
from vertune.core.config import build as parse
from vertune.learning import auto, choice, held_out, session
from vertune.learning.auto import StepTimes, Workload
from vertune.learning.checkpoint import Position
from vertune.learning.choice import TimeLimit
from vertune.learning.loop import LoopResult
from vertune.nn.build import build

SPEED = StepTimes(0.01, 0.03)


@pytest.fixture(scope="module")
def model(base):
    config = parse(Config, {"data": {}, "base": str(base), "task": {"name": "classify", "labels": ["a", "b"]}})
    return build(config.encoder, config.task)


@pytest.mark.parametrize("left", [0.0, 1.0, 40.0, 100.0])
def test_with_the_time_that_is_said_to_be_needed_all_is_trained(model, left):
    load = Workload(1000, steps=10, watched=50, remembered=True)
    short = auto.choose(model, load, SPEED, left, 4.0)
    assert short.needed > left
    enough = auto.choose(model, load, SPEED, short.needed + 1e-6, 4.0)
    assert (enough.method.name, enough.epochs, enough.needed) == ("full", 4.0, None)
    cut = auto.fit_in(method("full"), model, load, SPEED, left, 4.0)
    assert cut.epochs < 4
    assert auto.fit_in(method("full"), model, load, SPEED, cut.needed + 1e-6, 4.0).needed is None


@given(st.floats(1, 1e4), st.floats(0, 1e4), st.floats(1, 3))
def test_a_suggested_limit_leaves_what_was_missing(limit, missing, repeated):
    before = TimeLimit(limit, limit, 0.0, repeated)
    suggested = before.suggested(missing)
    assert suggested >= limit
    assert (suggested - limit) / repeated >= missing - 1e-9 * limit  # what floats can't tell apart does not count
    assert suggested - limit - missing * repeated <= 10


def trained(configured, folder, **options):
    config, material = configured(**options)
    seen = []
    result = session.train(config, material, session.TrainingFolders(folder), lambda kind, **fields: seen.append((kind, fields)))
    return result, [fields["message"] for kind, fields in seen if kind == "warning"]


def test_a_method_that_a_limit_cuts_is_told_with_its_share_and_what_it_needs(configured, tmp_path):
    result, told = trained(configured, tmp_path, method="full", training={"time_limit": 1e-6, "epochs": 4})
    assert told == result.chosen["warnings"]
    assert "only 0.001 of 4 epochs of method 'full' (0.0%)" in told[0]
    assert "training.time_limit: " in told[0]
    kept = result.metrics["accuracy"]
    assert kept >= result.chosen["solved_head"]["accuracy"]  # never worse on validation than the linear probe


def test_auto_that_has_no_time_to_train_tells_it(configured, tmp_path):
    result, told = trained(configured, tmp_path, method="auto", training={"time_limit": 1e-6, "epochs": 4})
    assert result.chosen["method"] == "head"
    assert told == result.chosen["warnings"]
    assert "too short to train any layer, so the linear probe is kept" in told[0]


def test_enough_time_is_no_warning(configured, tmp_path):
    result, told = trained(configured, tmp_path, method="full", training={"time_limit": 10_000, "epochs": 1})
    assert told == []
    assert "warnings" not in result.chosen


def test_a_loop_that_the_limit_ends_is_told(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(
        session, "run_loop", lambda model, plan, lesson, real=session.run_loop: real(model, replace(plan, seconds=1e-9), lesson)
    )
    result, told = trained(configured, tmp_path, method="full", training={"time_limit": 10_000, "epochs": 2})
    assert "ended the training after 1 of 8 steps (12.5%)" in told[0]
    assert told == result.chosen["warnings"]


def test_what_is_missing_is_estimated_from_the_steps_that_were_done():
    result = LoopResult(Position(step=25, seconds=50.0), 25, 1.0, late=True)
    assert "25 of 100 steps (25.0%). Set training.time_limit: 250" in choice.stopped(TimeLimit(100, 100), result, 100)


@pytest.mark.parametrize(("shortened", "kept"), [(True, True), (False, False)])
def test_a_shortened_training_must_not_be_worse_at_all(shortened, kept):
    task = part.find("tasks", "classify")(labels=["a", "b"])
    records = [{"text": str(row), "label": "ab"[row % 2]} for row in range(40)]
    right = [{"label": record["label"], "probability": 1.0, "probabilities": {}} for record in records]
    worse = [{**right[0], "label": "b"}, *right[1:]]
    before, after = (held_out.HeldOutPredictions(task, records, answers) for answers in (right, worse))
    config = parse(Config, {"data": {}, "method": "auto"})
    assert session._is_beaten(config, after, before, shortened) == kept
    assert not session._is_beaten(config, before, after, shortened)
