from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.learning.conftest import method
from vertune.learning import auto, session
from vertune.learning.auto import Speed
from vertune.learning.optimiser import factor
from vertune.nn.build import build


@pytest.fixture(scope="module")
def model(base):
    from vertune.core.config import Config
    from vertune.core.config import build as parse

    config = parse(Config, {"data": {}, "base": str(base), "task": {"name": "classify", "labels": ["a", "b"]}})
    return build(config.encoder, config.task)


@pytest.mark.parametrize(("left", "name", "passes"), [(1000, "full", 4), (100, "full", 2.8), (40, "top_layers", 1.6), (1, None, 0)])
def test_the_deepest_that_fits_is_chosen(model, left, name, passes):
    choice = auto.choose(model, 1000, Speed(0.01, 0.03), left, 4.0)
    assert (choice.method.name if choice.method else None) == name
    assert choice.epochs == pytest.approx(passes, abs=0.15)


def test_what_was_chosen_fits_in_the_time(model):
    speed = Speed(0.01, 0.03)
    for left in range(1, 200, 7):
        choice = auto.choose(model, 1000, speed, left, 4.0)
        if choice.method:
            share = 1.0 if choice.method.name == "full" else choice.method.n / 2
            assert choice.epochs * 1000 * speed.passing(share) <= left


def test_a_resumed_auto_does_what_was_chosen_first(configured, tmp_path, monkeypatch, quiet):
    config, material = configured(training={"epochs": 1})
    first = session.teach(config, material, tmp_path, quiet)
    monkeypatch.setattr(auto, "measure", lambda *ignored: pytest.fail("measured again"))
    again = session.teach(config, material, tmp_path, quiet)
    assert {**again.chosen, "seconds": 0, "examples_per_second": 0} == {**first.chosen, "seconds": 0, "examples_per_second": 0}


def test_a_method_that_was_asked_for_gets_the_passes_that_fit():
    speed = Speed(0.01, 0.03)
    assert auto.fit_in(method("full"), 1000, speed, 1000, 3).epochs == 3
    assert auto.fit_in(method("full"), 1000, speed, 30, 3).epochs == pytest.approx(0.85)


@settings(max_examples=50)
@given(st.sampled_from(["linear", "cosine", "constant"]), st.floats(0, 0.5), st.integers(1, 500))
def test_rates_rise_then_never_rise_again(schedule, warmup, steps):
    values = [factor(schedule, warmup, step, steps) for step in range(steps)]
    assert all(0 <= value <= 1 for value in values)
    rise = round(warmup * steps)
    assert values[:rise] == sorted(values[:rise])
    assert values[rise:] == sorted(values[rise:], reverse=True)
    assert rise == steps or values[rise] == 1
