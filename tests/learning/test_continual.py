"""Training on from a live model: what it knew stays, what is new is learnt, and the way that keeps both is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from tests.learning.conftest import method, sentences
from vertune.core.config import Config
from vertune.core.config import build as parse
from vertune.learning import continual, retention, session
from vertune.learning.continual import Continuation, LiveModel, Way
from vertune.learning.examples import encode
from vertune.learning.training_data import TrainingData, TrainingFolders
from vertune.learning.training_input import TrainingInput
from vertune.nn.build import build, trainable
from vertune.nn.run import outputs

OLD = ("money", "travel")
QUICK = {"epochs": 3, "refit": "never", "optimiser": {"rate": 3e-3}}


def split(records):
    return [row for row in records if row["label"] in OLD], [row for row in records if row["label"] not in OLD]


@pytest.fixture(scope="module")
def module_configured(base):
    def make(records, **options):
        value = {"data": {}, "base": str(base), "device": {"threads": 1, "precision": "float32"}, "training": QUICK, **options}
        config = parse(Config, value)
        task = config.task.fit(pl.DataFrame(records))
        return config.model_copy(update={"task": task, "encoder": config.encoder.resolve(records, task.views(["text", "label"]))})

    return make


@pytest.fixture(scope="module")
def lesson(module_configured, tmp_path_factory):
    """The config for all labels, a live model that knows two of three labels, and old and new rows."""
    old, new = split(sentences(160))
    held_old, held_new = split(sentences(80, seed=1))
    config = module_configured(old, method="full")
    data = TrainingData(old, held_old, ["text", "label"])
    made = session.train(config, data, TrainingFolders(tmp_path_factory.mktemp("live")), lambda kind, **fields: None)
    live = LiveModel("live", made.config.method, made.config.task, made.config.method.edits(made.model))
    fresh = [np.array([False] * len(one) + [True] * len(other)) for one, other in ((old, new), (held_old, held_new))]
    both = TrainingData([*old, *new], [*held_old, *held_new], ["text", "label"], fresh=(fresh[0], fresh[1]))
    return module_configured([*old, *new], method="auto"), live, both


def quiet(kind, **fields):
    """Take an event, and do nothing."""


def trained(lesson, tmp_path, progress=quiet, **how):
    config, live, data = lesson
    settings = Continuation(**{"ways": (Way("replay"),), "epochs": 4.0, **how})
    return continual.train(config, data, live, settings, (TrainingFolders(tmp_path), progress))


class Killed(BaseException):
    """Stands for a process that dies between two steps."""


def test_a_killed_training_goes_on_in_the_way_in_which_it_was(lesson, tmp_path):
    """It ends with the same weights, bit for bit, and does no step twice."""
    config, live, data = lesson
    often = config.model_copy(update={"training": config.training.model_copy(update={"checkpoint": 0.0, "batch": 16})})
    two = {"ways": (Way("distillation", distillation=1.0), Way("replay")), "epochs": 0.35}
    steps = []

    def count(kind, **fields):
        if kind == "step":
            steps.append(fields["step"])

    whole = trained((often, live, data), tmp_path / "whole", count, **two)
    done, seen = len(steps), []
    assert steps.count(1) == 2, "two ways"

    def die(kind, **fields):
        seen.extend([kind] if kind in ("step", "resumed") else [])
        if seen.count("step") == done - 1:
            raise Killed

    with pytest.raises(Killed):
        trained((often, live, data), tmp_path / "killed", die, **two)
    seen.clear()
    again = trained((often, live, data), tmp_path / "killed", lambda kind, **fields: seen.append(kind), **two)
    assert (seen.count("resumed"), seen.count("step")) == (2, 2), "the checkpoint of the last step was not written yet"
    assert [way["name"] for way in again.chosen["ways"]] == ["distillation", "replay"]
    for name, value in trainable(whole.model).items():
        assert torch.equal(value, trainable(again.model)[name]), name


def test_a_new_class_is_learnt_and_the_old_ones_stay(lesson, tmp_path):
    done = trained(lesson, tmp_path, ways=(Way("distillation", distillation=1.0),))
    (way,) = done.chosen["ways"]
    assert done.config.task.labels == ["food", "money", "travel"]
    assert way["new"] > 0.9
    assert way["old"] > 0.9
    assert done.chosen["start"] == "live"
    assert done.chosen["live_on_old"] > 0.9
    assert done.chosen["new"] == lesson[2].fresh[0].sum()
    assert done.metrics["accuracy"] > 0.9


def test_the_way_that_keeps_most_is_chosen_among_several(lesson, tmp_path):
    done = trained(lesson, tmp_path, ways=(Way("replay"), Way("distillation", distillation=1.0), Way("importance", 0, 0.1, True)))
    ways = {way["name"]: way for way in done.chosen["ways"]}
    assert done.chosen["way"] in ways
    kept = [way for way in ways.values() if done.chosen["live_on_old"] - way["old"] <= 0.003 * done.chosen["live_on_old"]]
    assert not kept or ways[done.chosen["way"]]["new"] == max(way["new"] for way in kept)


def test_training_is_repeatable(lesson, tmp_path):
    one, other = (trained(lesson, tmp_path / name, epochs=1.0) for name in ("one", "other"))
    for (name, first), second in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        assert torch.equal(first, second), name


def test_a_strong_anchor_holds_the_weights(lesson, tmp_path):
    _, live, _ = lesson
    base_weights = live.edits[1].tensors
    free = trained(lesson, tmp_path / "free")
    held = trained(lesson, tmp_path / "held", ways=(Way("anchor", anchor=1e3),))

    def moved(done):
        stage = dict(done.model.get_submodule(live.edits[1].site).named_parameters())
        return float(sum((stage[name].detach() - value).square().sum() for name, value in base_weights.items()))

    assert moved(held) < 0.2 * moved(free)


def test_replayed_rows_cover_all_old_targets(lesson):
    config, _, data = lesson
    whole = encode(data.train, config.task, config.encoder, config.task.views(data.columns))
    rows, is_old = continual._lesson(whole, config.task, data.fresh[0], Continuation(replay=0.1), config)
    assert set(np.flatnonzero(data.fresh[0])) <= set(rows.tolist())
    assert {data.train[row]["label"] for row in rows[is_old]} == set(OLD)
    assert not data.fresh[0][rows[is_old]].any()


def test_classes_that_replay_makes_rare_get_their_share_again(lesson):
    config, _, data = lesson
    whole = encode(data.train, config.task, config.encoder, config.task.views(data.columns))
    old = np.flatnonzero(~data.fresh[0])
    fewer = whole.subset(np.concatenate([np.flatnonzero(data.fresh[0]), old[:20]]))
    change = continual._of_shares(whole, fewer, config.task)
    labels = [row["label"] for row in data.train]
    for label in OLD:
        assert change[config.task.labels.index(label)] > change[config.task.labels.index("food")]
    shares = np.bincount(np.asarray(fewer.targets.values)) + 1.0
    corrected = shares * np.exp(change)
    expected = np.array([labels.count(label) + 1.0 for label in config.task.labels])
    assert corrected / corrected.sum() == pytest.approx(expected / expected.sum(), rel=1e-4)
    assert continual._of_shares(whole, whole, config.task) == pytest.approx(0.0)


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress"])
def test_distillation_is_zero_for_the_live_model_itself(base, module_configured, task):
    records = [
        {"text": row["text"], "label": row["label"], "labels": [row["label"]], "score": float(len(row["text"]))} for row in sentences(24)
    ]
    config = module_configured(records, task=task, method="full")
    examples = encode(records, config.task, config.encoder, config.task.views(list(records[0])))
    material = TrainingInput(config, config.task, config.encoder, examples, score=None, progress=lambda kind, **fields: None)
    torch.manual_seed(0)
    model = build(config.encoder, config.task).eval()
    rows = np.arange(24)
    term = retention.Distillation.of(model, material, rows, 10.0, range(config.task.size))
    inputs = {key: torch.from_numpy(value) for key, value in config.encoder.collate(examples.features[:8]).items()}
    own = config.task.loss(model(inputs), examples.target(range(8)))
    assert torch.allclose(term.loss(model, inputs, range(8)), own, atol=1e-3)
    with torch.no_grad():
        model.head.bias += torch.linspace(-1, 1, len(model.head.bias)) + 0.5
        own = config.task.loss(model(inputs), examples.target(range(8)))
        assert float((term.loss(model, inputs, range(8)) - own).detach().min()) > 0


def test_importance_has_mean_one_and_differs(lesson):
    config, live, data = lesson
    examples = encode(data.train[:20], config.task, config.encoder, config.task.views(data.columns))
    material = TrainingInput(config, config.task, config.encoder, examples, score=None, progress=lambda kind, **fields: None)
    model = build(config.encoder, config.task)
    live.method.prepare(model, config.task, 1)
    weights = retention.anchored(model, grows=True)
    assert not [name for name in weights if name.startswith("head.") or "word_embeddings" in name]
    found = retention.importance(model, material, np.arange(20), weights)
    joined = torch.cat([value.flatten() for value in found.values()])
    assert float(joined.mean()) == pytest.approx(1.0, rel=1e-3)
    assert float(joined.std()) > 0.5
    assert float(retention.Anchor(weights, 2.0, found)(model).detach()) == 0.0


def test_only_as_many_ways_are_tried_as_there_is_time_for(lesson, tmp_path):
    config, live, data = lesson
    every = (Way("replay"), Way("distillation", distillation=1.0))
    assert len(trained(lesson, tmp_path, ways=every, epochs=1.0, seconds=1e-6).chosen["ways"]) == 1
    many = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 1.0})})
    short = trained((many, live, data), tmp_path, ways=every, epochs=8.0)  # as much work as a training from the pretrained model
    assert len(short.chosen["ways"]) == 1


@pytest.mark.parametrize("name", ["lora", "top_layers"])
def test_other_methods_go_on_too(lesson, tmp_path, name):
    config, _, data = lesson
    old = [row for row, fresh in zip(data.train, data.fresh[0], strict=True) if not fresh]
    first = session.train(
        config.model_copy(update={"method": method(name), "task": config.task.model_copy(update={"labels": list(OLD)})}),
        replace(data, train=old, validation=[], fresh=None), TrainingFolders(tmp_path), lambda kind, **fields: None,
    )  # fmt: skip
    live = LiveModel("live", first.config.method, first.config.task, first.config.method.edits(first.model))
    course = trained((config, live, data), tmp_path / "again", epochs=1.0)
    assert course.chosen["method"] == name
    examples = encode(old[:8], config.task, config.encoder, config.task.views(data.columns))
    found = outputs(course.model, config.encoder, examples.features)
    assert np.isfinite(np.stack(found)).all()
