from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from vertune.core import part
from vertune.learning import probe
from vertune.learning.probe import FrozenStates, _minimise, _Problem, solve
from vertune.learning.probe import _loss as loss


def frozen_of(states, targets) -> FrozenStates:
    rows = len(states)
    return FrozenStates(torch.from_numpy(states).float(), torch.from_numpy(targets), torch.ones(rows), np.arange(rows))


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 24)) * 0.8
    labels = random.integers(0, 4, 600)
    return centres[labels] + random.normal(size=(600, 24)), labels


def test_the_minimum_is_scikit_learns(data):
    states, labels = data
    states = (states - states.mean(0)) / states.std(0)
    task = part.find("tasks", "classify")(labels=list("abcd"))
    solved = _minimise(task, torch.from_numpy(states).float(), torch.from_numpy(labels), torch.ones(600), _Problem(4, 3.0, None))
    own = torch.from_numpy(states).float() @ solved[:-1] + solved[-1]
    oracle = LogisticRegression(C=3.0, max_iter=2000, tol=1e-8).fit(states / np.sqrt(24), labels)
    expected = oracle.predict_log_proba(states / np.sqrt(24))
    assert np.abs(torch.log_softmax(own, 1).numpy() - expected).max() < 2e-2


def test_a_solved_head_answers_on_raw_states(data):
    states, labels = data
    states = states * np.linspace(0.01, 100, 24) + 5  # scales that only standardising can meet
    task = part.find("tasks", "classify")(labels=list("abcd"))
    solution = solve(frozen_of(states, labels), task, 4)
    guess = (states @ solution.weight.numpy().T + solution.bias.numpy()).argmax(1)
    oracle = LogisticRegression(max_iter=5000).fit((states - states.mean(0)) / states.std(0), labels)
    assert (guess == labels).mean() >= oracle.score((states - states.mean(0)) / states.std(0), labels) - 0.02


def test_a_constant_dimension_does_no_harm(data):
    states, labels = data
    states[:, 3] = 1.0
    task = part.find("tasks", "classify")(labels=list("abcd"))
    solution = solve(frozen_of(states, labels), task, 4)
    assert torch.isfinite(solution.weight).all()
    assert solution.weight.abs().max() < 100


def test_a_regression_head_is_ridges():
    random = np.random.default_rng(0)
    states = random.normal(size=(500, 8))
    values = states @ random.normal(size=8) + 3 + random.normal(size=500) * 0.1
    task = part.find("tasks", "regress")(mean=0.0, deviation=1.0)
    head = task.head(8)
    targets = values.astype(np.float32)
    solution = solve(frozen_of(states, targets), task, head.out_features)
    guess = states @ solution.weight.numpy()[0] + solution.bias.item()
    expected = Ridge(1e-3).fit(states, values).predict(states)
    assert np.abs(guess - expected).mean() < 0.05


def test_only_as_many_tokens_are_frozen_as_a_head_needs(base, monkeypatch):
    from vertune.core.config import Config, build
    from vertune.learning import probe
    from vertune.learning.examples import encode
    from vertune.learning.training_input import TrainingInput
    from vertune.nn.build import build as assemble

    config = build(Config, {"data": {}, "base": str(base), "task": "tag", "device": {"tokens": 1000, "precision": "float32"}})
    records = config.task.example(40)
    task = config.task.fit(pl.DataFrame(records))
    examples = encode(records, task, config.encoder, task.views(["text", "spans"]))
    model = assemble(config.encoder, task)
    lesson = TrainingInput(config, task, config.encoder, examples, None, lambda kind, **fields: None)
    whole = probe.freeze(model, lesson)
    labelled = sum(int((value != -100).sum()) for value in examples.targets.values)
    assert (len(whole.states), whole.cost) == (labelled, examples.costs.sum())
    monkeypatch.setattr(probe, "_TOKENS_IN_TIME", 50)
    assert len(probe.freeze(model, lesson).states) == labelled, "without a time limit"
    lesson.deadline = 1.0
    some = probe.freeze(model, lesson)
    assert 50 <= len(some.states) < labelled
    assert some.cost < whole.cost
    place = next(row for row in range(len(whole.groups)) if whole.groups[row] == some.groups[0])
    assert torch.allclose(whole.states[place], some.states[0], atol=1e-5)


def test_many_classes_need_few_iterations(monkeypatch):
    random = np.random.default_rng(0)
    classes, width, rows = 260, 12, 780
    centres = random.normal(size=(classes, width))
    labels = np.arange(rows) % classes
    train, test = (centres[labels] + random.normal(size=(rows, width)) * 0.3 for _ in range(2))
    task = part.find("tasks", "classify")(labels=[str(label) for label in range(classes)])
    accuracy, evaluations = [], []
    for many in (probe._MANY_OUTPUTS, classes):
        calls = []
        monkeypatch.setattr(probe, "_WORK", 1.0)
        monkeypatch.setattr(probe, "_MANY_OUTPUTS", many)
        monkeypatch.setattr(probe, "_loss", lambda *given, calls=calls: calls.append(1) or loss(*given))
        solution = solve(frozen_of(train, labels), task, classes, follows=False)
        accuracy.append(((test @ solution.weight.numpy().T + solution.bias.numpy()).argmax(1) == labels).mean())
        evaluations.append(len(calls))
    assert accuracy[0] >= accuracy[1] - 0.03 > 0.5
    assert evaluations[0] < 0.7 * evaluations[1]
