"""The gradient of a step in passes that fit in memory is that of the undivided step, also for losses that compare all rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.learning.conftest import sentences
from vertune.core.config import Config, build
from vertune.learning import contrastive, memory
from vertune.learning.examples import encode
from vertune.learning.gradients import StepGradients
from vertune.learning.loop import accelerator
from vertune.learning.training_input import TrainingInput
from vertune.nn.build import build as assemble
from vertune.nn.build import trainable


def pairs(count: int) -> list[dict]:
    """Queries and documents of uneven length, some of which occur twice, and some that are not relevant."""
    texts = [row["text"] for row in sentences(2 * count, seed=3)]
    return [{"text": texts[row], "text_pair": texts[-1 - row // 2], "label": int(row % 3 != 1)} for row in range(count)]


@pytest.fixture(scope="module")
def embedder(base):
    config = build(Config, {"data": {}, "base": str(base), "task": "embed", "device": {"threads": 1, "precision": "float32"}})
    examples = encode(pairs(24), config.task, config.encoder, config.task.views(["text", "text_pair", "label"]))
    lesson = TrainingInput(config, config.task, config.encoder, examples, None, lambda kind, **fields: None)
    torch.manual_seed(0)
    return assemble(config.encoder, config.task).train(), lesson


@pytest.fixture(scope="module")
def classifier(base):
    task = {"name": "classify", "labels": ["food", "money", "travel"]}
    config = build(Config, {"data": {}, "base": str(base), "task": task, "device": {"threads": 1, "precision": "float32"}})
    examples = encode(sentences(24), config.task, config.encoder, config.task.views(["text", "label"]))
    lesson = TrainingInput(config, config.task, config.encoder, examples, None, lambda kind, **fields: None)
    torch.manual_seed(0)
    return assemble(config.encoder, config.task).train(), contrastive.prepared(lesson)


def gradients(model, lesson, rows: int) -> StepGradients:
    """The computation, with so many model inputs in a pass that `rows` of the longest fit."""
    found = StepGradients.of(model, lesson, accelerator(lesson.config), None)
    longest = int(lesson.examples.costs.max())
    allowed = memory._OVERHEAD * (rows + 0.5) * found.memory.bytes_of(longest)
    found.memory = memory.PassMemory(found.memory.linear, found.memory.quadratic, 0.0, allowed)
    return found


def added(model, step: StepGradients, features, seed: int = 0) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    loss = float(step.add(features, step.total(features)))
    return loss, {name: value.grad.clone() for name, value in trainable(model).items() if value.grad is not None}


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.backbone.config.attention_probs_dropout_prob = 0.0


def check_passes(model, lesson, rows, fitting):
    """The gradient of a step over these rows is the same in passes of so many inputs as in one."""
    without_dropout(model)
    features = lesson.examples.rows_of(np.array(rows))
    divided = gradients(model, lesson, fitting)
    together = gradients(model, lesson, 1000)
    assert len(together.parts(features)) == 1
    assert max(map(len, divided.parts(features))) <= len(features)
    loss, found = added(model, divided, features)
    expected_loss, expected = added(model, together, features)
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.allclose(value, expected[name], rtol=1e-4, atol=1e-6 + 1e-5 * float(expected[name].abs().max())), name


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 23), min_size=2, max_size=24, unique=True), st.integers(1, 9))
def test_a_contrastive_step_in_passes_has_the_gradient_of_the_undivided_step(embedder, rows, fitting):
    check_passes(*embedder, rows, fitting)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 23), min_size=2, max_size=24, unique=True), st.integers(1, 9))
def test_the_contrastive_objective_in_passes_has_the_gradient_of_the_undivided_step(classifier, rows, fitting):
    check_passes(*classifier, rows, fitting)


def test_both_passes_of_a_micro_batch_drop_the_same_elements(base):
    config = build(Config, {"data": {}, "base": str(base), "task": "embed", "device": {"threads": 1, "precision": "float32"}})
    examples = encode(pairs(12), config.task, config.encoder, config.task.views(["text", "text_pair", "label"]))
    lesson = TrainingInput(config, config.task, config.encoder, examples, None, lambda kind, **fields: None)
    model = assemble(config.encoder, config.task).train()
    step, features = gradients(model, lesson, 2), examples.rows_of(np.arange(12))
    parts = step.parts(features)
    assert len(parts) > 2
    _, found = added(model, step, features, seed=5)
    # the same with the activations of all micro-batches in memory at once
    model.zero_grad(set_to_none=True)
    torch.manual_seed(5)
    seeds = torch.randint(2**62, (len(parts),)).tolist()
    together = torch.cat([step._outputs(part, seed) for part, seed in zip(parts, seeds, strict=True)])
    order = [feature for part in parts for feature in part]
    step._share(config.task.loss(together, examples.target(order)), order, step.total(features)).backward()
    for name, value in trainable(model).items():
        if value.grad is not None:
            assert torch.allclose(value.grad, found[name], rtol=1e-4, atol=1e-6), name


def test_what_a_pass_takes_is_measured_and_grows_with_the_square_of_the_length(base):
    config = build(Config, {"data": {}, "base": str(base), "task": "embed", "device": {"threads": 1, "precision": "float32"}})
    records = [{"text": "bank " * words, "text_pair": "loan"} for words in (120, 60)]
    examples = encode(records, config.task, config.encoder, config.task.views(["text", "text_pair"]))
    lesson = TrainingInput(config, config.task, config.encoder, examples, None, lambda kind, **fields: None)
    model = assemble(config.encoder, config.task)
    needed = StepGradients.of(model, lesson, accelerator(config), None).memory
    assert needed.linear > 4 * model.width * 4
    assert needed.quadratic >= 2 * 2 * 4 * 2  # of each of two layers and two heads, at least the shares and the dropout in four bytes
    assert needed.bytes_of(64) > 2 * needed.bytes_of(32)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 512), min_size=1, max_size=60), st.floats(0.8, 5))
def test_no_pass_exceeds_the_limit_unless_one_row_does(costs, gigabytes):
    from vertune.batching.batches import by_tokens

    needed, costs = memory.PassMemory(2e5, 800.0, 0.7e9, gigabytes * 1e9), np.array(costs)
    parts = by_tokens(np.argsort(-costs, kind="stable"), costs, 10**9, needed.rows)
    assert sorted(row for part in parts for row in part) == list(range(len(costs)))
    free = max(0.1 * needed.allowed, needed.allowed - needed.fixed) / memory._OVERHEAD
    for part in parts:
        assert len(part) == 1 or len(part) * needed.bytes_of(int(costs[part].max())) <= free * 1.0001
