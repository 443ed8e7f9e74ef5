"""A head that grows keeps what it said of old labels."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from tests.learning.conftest import method, sentences
from vertune.core.config import Config, build
from vertune.core.errors import ConfigError
from vertune.core.kinds import Method
from vertune.learning import growth
from vertune.learning.examples import encode
from vertune.learning.training_input import TrainingInput
from vertune.nn import build as models
from vertune.nn.run import outputs
from vertune.tasks.classify import Classify
from vertune.tasks.regress import Regress
from vertune.tasks.tag import Tag


def test_outputs_are_matched_by_what_they_stand_for():
    old, new = Classify(labels=["b", "d"]), Classify(labels=["a", "b", "c"])
    assert growth.new_outputs(old, new) == [0, 2]
    assert growth.kept_outputs(old, new) == ([0], [1])
    assert growth.new_outputs(Tag(labels=("x",)), Tag(labels=("w", "x"))) == [1, 2]
    assert growth.kept_outputs(Tag(labels=("x",)), Tag(labels=("w", "x"))) == ([0, 1, 2], [0, 3, 4])
    assert growth.kept_outputs(Regress(), Regress()) == ([0], [0])


@pytest.fixture
def lesson(base):
    config = build(Config, {"data": {}, "base": str(base), "method": "full", "device": {"threads": 1, "precision": "float32"}})
    rows = sentences(90)
    names = ("money", "travel"), ("money", "travel", "food")
    tasks = [config.task.fit(pl.DataFrame([row for row in rows if row["label"] in known])) for known in names]
    encoder = config.encoder.resolve(rows, tasks[1].views(["text", "label"]))
    examples = encode(rows, tasks[1], encoder, tasks[1].views(["text", "label"]))
    material = TrainingInput(config, tasks[1], encoder, examples, score=None, progress=lambda kind, **fields: None)
    return tasks, material


def test_a_grown_head_answers_as_before_and_knows_the_new_label(lesson):
    (old, new), material = lesson
    torch.manual_seed(0)
    before = models.build(material.encoder, old)
    edits = method("full").edits(_prepared(before, old))
    torch.manual_seed(1)
    after = _prepared(models.build(material.encoder, new), new)
    method("full").start_from(after, growth.grown(edits, old, new, after))
    features = material.examples.features
    said, now = (torch.from_numpy(np.stack(outputs(model, material.encoder, features))) for model in (before, after))
    there, here = growth.kept_outputs(old, new)
    assert torch.allclose(said[:, there], now[:, here], atol=1e-5)
    growth.fit_new_outputs(after, material, growth.new_outputs(old, new))
    fitted = torch.from_numpy(np.stack(outputs(after, material.encoder, features)))
    assert torch.allclose(said[:, there], fitted[:, here], atol=1e-5)
    truth = material.examples.target(range(len(features)))
    loss = [float(new.loss(logits, truth).mean().detach()) for logits in (now, fitted)]
    assert loss[1] < loss[0]


def test_without_new_labels_nothing_changes(lesson):
    (_, new), material = lesson
    model = _prepared(models.build(material.encoder, new), new)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    growth.fit_new_outputs(model, material, [])
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_a_method_that_can_t_go_on_says_so():
    class Alone(Method):
        pass

    with pytest.raises(ConfigError, match="can't continue an earlier training"):
        Method.start_from(method("full"), None, [])
    assert not Alone().continues
    assert method("lora").continues


def _prepared(model, task):
    method("full").prepare(model, task, 1)
    return model
