from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from tests.learning.conftest import method
from vertune.core.errors import ModelError
from vertune.learning import session
from vertune.learning.defaults import Rates
from vertune.learning.examples import encode
from vertune.learning.loop import Plan, _Training, run_loop
from vertune.learning.optimiser import groups
from vertune.learning.training_input import TrainingInput
from vertune.nn.build import build, trainable
from vertune.nn.vertical import VerticalModel


class Killed(BaseException):
    """Stands for a process that dies between two steps."""


def lesson_of(config, material, progress, folder=None) -> TrainingInput:
    examples = encode(material.train, config.task, config.encoder, config.task.views(material.columns))
    return TrainingInput(config, config.task, config.encoder, examples, None, progress, folder)


def prepared(config, name="full", seed=0, **options):
    torch.manual_seed(seed)
    model = build(config.encoder, config.task)
    chosen = method(name, **options)
    chosen.prepare(model, config.task, 12)
    return model, Plan(chosen, Rates(1e-3, 1e-2), 12, 3.0)


def weights(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(model).items()}


METHODS = {"full": {}, "lora": {"dropout": 0.1}, "adalora": {}}
OPTIMISERS = ["adamw", "adafactor", "sgd"]
ONE_OF_EACH = list(zip(METHODS, OPTIMISERS, strict=True))
OTHERS = [pytest.param(*pair, marks=pytest.mark.matrix) for pair in product(METHODS, OPTIMISERS) if pair not in ONE_OF_EACH]


@pytest.mark.parametrize(("name", "optimiser"), [*ONE_OF_EACH, *OTHERS])
def test_a_killed_training_ends_with_the_same_weights_bit_for_bit(configured, tmp_path, name, optimiser):
    options = METHODS[name]
    config, material = configured(training={"checkpoint": 0, "batch": 32, "optimiser": {"name": optimiser}})
    steps = 12
    plain, plan = prepared(config, name, **options)
    run_loop(plain, plan, lesson_of(config, material, lambda kind, **fields: None))
    random = np.random.default_rng(len(name) + len(optimiser))
    for attempt in sorted(random.choice(np.arange(1, steps), 2, replace=False)):

        def die(kind, until=attempt, **fields):
            if kind == "step" and fields["step"] == until:
                raise Killed

        model, plan = prepared(config, name, **options)
        with pytest.raises(Killed):
            run_loop(model, plan, lesson_of(config, material, die, tmp_path / "checkpoint"))
    seen = []
    model, plan = prepared(config, name, **options)
    run_loop(model, plan, lesson_of(config, material, lambda kind, **fields: seen.append(kind), tmp_path / "checkpoint"))
    assert seen[0] == "resumed"
    assert seen.count("step") < steps
    expected = weights(plain)
    assert expected.keys() == weights(model).keys()
    assert all(torch.equal(value, expected[key]) for key, value in weights(model).items())


def test_micro_batches_give_the_step_of_the_whole_batch(configured, quiet):
    results = []
    for tokens in (64, 100_000):
        config, material = configured(
            device={"tokens": tokens, "threads": 1, "precision": "float32"}, training={"optimiser": {"name": "sgd", "clip": 0}}
        )
        torch.manual_seed(0)
        model = build(config.encoder, config.task)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # dropout is drawn a micro-batch and would differ
        model.backbone.config.attention_probs_dropout_prob = 0.0
        chosen = method("full")
        chosen.prepare(model, config.task, 3)
        run_loop(model, Plan(chosen, Rates(0.1, 0.1), 3, 1.0), lesson_of(config, material, quiet))
        results.append(weights(model))
    assert all(torch.allclose(value, results[1][key], atol=1e-5) for key, value in results[0].items())


def test_a_loss_that_is_no_number_stops_with_advice(configured, quiet):
    config, material = configured()
    model, _ = prepared(config)
    plan = Plan(method("full"), Rates(1e30, 1e30), 12, 3.0)
    with pytest.raises(ModelError, match=r"optimiser\.rate"):
        run_loop(model, plan, lesson_of(config, material, quiet))


def test_the_best_weights_are_kept_and_patience_stops(configured, quiet):
    config, material = configured(training={"patience": 2, "evaluations": 4})
    model, plan = prepared(config)
    lesson = lesson_of(config, material, quiet)
    values = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2])
    kept = {}

    def score():
        value = next(values)
        kept[value] = weights(model)
        return value

    lesson.score = score
    learnt = run_loop(model, plan, lesson)
    assert learnt.position.best == 0.9
    assert learnt.position.stale == 2
    assert learnt.steps < plan.steps
    assert all(torch.equal(value, kept[0.9][key]) for key, value in weights(model).items())


def test_rows_are_visited_once_an_epoch(configured, quiet):
    config, material = configured()
    model, plan = prepared(config)
    lesson = lesson_of(config, material, quiet)
    training = _Training(model, plan, lesson)
    epochs = [np.concatenate([training._rows(step) for step in range(first, first + 4)]) for first in (0, 4, 8)]
    assert all(sorted(rows) == list(range(120)) for rows in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()


@pytest.mark.parametrize("name", ["full", "head", "lora"])
def test_teach_learns_what_can_be_learnt(configured, quiet, tmp_path, name):
    config, material = configured(rows=240, method=name, training={"epochs": 4, "optimiser": {"rate": 3e-3}})
    result = session.train(config, material, session.TrainingFolders(tmp_path), quiet)
    assert result.metrics["accuracy"] > 0.9
    assert result.trained == sum(parameter.numel() for parameter in trainable(result.model).values())


def test_refit_uses_every_label_and_reports_the_metrics_of_the_held_out_ones(configured, tmp_path):
    config, material = configured(method="full", training={"epochs": 2, "optimiser": {"rate": 3e-3}})
    material.cut = True
    seen = []
    result = session.train(config, material, session.TrainingFolders(tmp_path), lambda kind, **fields: seen.append((kind, fields)))
    assert result.chosen["refit"] == 180
    assert [fields["rows"] for kind, fields in seen if kind == "training"] == [120, 180]
    assert "accuracy" in result.metrics


def test_updating_used_rows_learns_what_updating_every_row_learns(configured, quiet, tmp_path):
    results = {}
    for exact in (False, True):
        config, material = configured(
            rows=240,
            method="full",
            training={"epochs": 6, "evaluations": 0, "start": "random", "optimiser": {"rate": 3e-3, "exact": exact}},
        )
        results[exact] = session.train(config, material, session.TrainingFolders(tmp_path / str(exact)), quiet)
    accuracy = {exact: result.metrics["accuracy"] for exact, result in results.items()}
    assert min(accuracy.values()) > 0.9
    assert abs(accuracy[True] - accuracy[False]) < 0.05


def test_rows_that_no_text_uses_stay_as_they_are(configured, quiet):
    config, material = configured()
    model, plan = prepared(config)
    before = model.backbone.get_input_embeddings().weight.detach().clone()
    lesson = lesson_of(config, material, quiet)
    run_loop(model, plan, lesson)
    used = np.unique(np.concatenate([feature.payload.ids for feature in lesson.examples.features]))
    after = model.backbone.get_input_embeddings().weight.detach()
    moved = (before != after).any(1).nonzero().flatten().numpy()
    assert set(used) <= set(moved) <= {*used, config.encoder.pad}


@pytest.mark.parametrize("name", ["full", "adalora"])
def test_a_training_killed_in_the_refit_ends_with_the_same_weights_bit_for_bit(configured, tmp_path, quiet, name):
    config, material = configured(method=name, training={"epochs": 1, "checkpoint": 0, "optimiser": {"rate": 3e-3}})
    material.cut = True
    plain = session.train(config, material, session.TrainingFolders(tmp_path / "plain"), quiet)
    seen = []

    def die(kind, **fields):
        seen.append(kind)
        if "refit" in seen and kind == "step" and fields["step"] == 3:
            raise Killed

    with pytest.raises(Killed):
        session.train(config, material, session.TrainingFolders(tmp_path / "killed"), die)
    seen.clear()
    again = session.train(config, material, session.TrainingFolders(tmp_path / "killed"), lambda kind, **fields: seen.append(kind))
    assert "resumed" in seen[seen.index("refit") :]
    assert again.metrics == plain.metrics
    expected = weights(plain.model)
    assert all(torch.equal(value, expected[key]) for key, value in weights(again.model).items())


def test_recomputed_activations_give_the_same_weights(configured, quiet):
    results, passes = [], []
    for again in (False, True):
        config, material = configured(device={"threads": 1, "precision": "float32", "checkpoint_gradients": again})
        model, plan = prepared(config)
        calls = []
        model.backbone.encoder.layer[0].attention.register_forward_hook(lambda *call, calls=calls: calls.append(1))
        run_loop(model, plan, lesson_of(config, material, quiet))
        passes.append(len(calls))
        results.append(weights(model))
    measured = 2  # of a long and of a shorter text, whose memory is measured before the first step
    assert passes == [measured + plan.steps, measured + 2 * plan.steps]
    assert all(torch.allclose(value, results[1][key], atol=1e-5) for key, value in results[0].items())


def test_bfloat16_is_for_training_alone(configured, quiet, tmp_path, monkeypatch):
    config, material = configured(method="full", device={"threads": 1, "precision": "bfloat16"}, training={"optimiser": {"rate": 3e-3}})
    seen = []

    def watched(self, inputs, forward=VerticalModel.forward):
        seen.append((self.training, torch.is_autocast_enabled("cpu")))
        return forward(self, inputs)

    monkeypatch.setattr(VerticalModel, "forward", watched)
    result = session.train(config, material, session.TrainingFolders(tmp_path), quiet)
    assert result.metrics["accuracy"] > 0.9
    assert {parameter.dtype for parameter in result.model.parameters()} == {torch.float32}
    assert all(cheap for training, cheap in seen if training)
    assert seen[-1] == (False, False)  # the metrics that are kept are of answers in float32


def test_rates_and_decay_go_by_depth_and_by_kind_of_weight(configured):
    config, _ = configured(training={"optimiser": {"layer_decay": 0.5, "weight_decay": 0.1}})
    model, _ = prepared(config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in groups(model, config.training.optimiser, Rates(1.0, 8.0)):
        found |= {names[id(parameter)]: (group["peak"], group["weight_decay"]) for parameter in group["params"]}
    assert found.keys() == weights(model).keys()
    assert found["head.weight"] == (8.0, 0.1)
    assert found["head.bias"] == (8.0, 0.0)
    top, below = (f"backbone.encoder.layer.{layer}.output" for layer in (1, 0))
    assert found[f"{top}.dense.weight"] == (1.0, 0.1)
    assert found[f"{top}.LayerNorm.weight"] == (1.0, 0.0)
    assert found[f"{below}.dense.weight"] == (0.5, 0.1)
    assert found["backbone.embeddings.word_embeddings.weight"] == (0.25, 0.1)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_learns_at_its_own_rate(configured, quiet, tmp_path, optimiser):
    config, material = configured(
        rows=160, method="full", training={"epochs": 20, "start": "random", "evaluations": 0, "optimiser": {"name": optimiser}}
    )
    assert session.train(config, material, session.TrainingFolders(tmp_path), quiet).metrics["accuracy"] > 0.8
