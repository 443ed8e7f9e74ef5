"""Reference outputs: neutral records for every task, and tolerances that depend on precision and processor."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from vertune.core import part
from vertune.core.errors import ModelError
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.runtime import reference
from vertune.runtime.predictor import Predictor


@pytest.mark.parametrize("name", part.names("tasks"))
def test_records_of_every_task_are_inputs_alone_and_fit_json(name):
    task = build(Task, name)
    records = reference.records_of(task)
    inputs = {column.name for column in task.input_columns}
    assert len(records) == 8
    assert all(record and record.keys() <= inputs for record in records)
    assert json.loads(json.dumps(records)) == records
    used = {value for record in records for value in record.values()}
    examples = {value for row in task.example(64) for value in row.values() if isinstance(value, str)}
    assert not used & examples


def test_fields_that_the_user_named_are_filled_by_type():
    task = build(Task, {"name": "classify", "inputs": {"age": "number", "job": "category"}})
    for record in reference.records_of(task):
        assert isinstance(record["age"], float)
        assert isinstance(record["job"], str)


@pytest.fixture
def model(fitted):
    return Predictor.open(fitted[1].model)


class Shifted:
    """An engine whose outputs are those of another, moved by a share of the largest one."""

    def __init__(self, engine, share: float) -> None:
        self.engine, self.share = engine, share

    def outputs(self, encoder, features):
        found = self.engine.outputs(encoder, features)
        largest = max(np.abs(output).max() for output in found)
        return [output + self.share * largest for output in found]


@pytest.mark.parametrize(
    ("precision", "elsewhere", "allowed", "refused"),
    [("float32", False, 5e-4, 5e-3), ("float32", True, 5e-4, 5e-3), ("int8", False, 0.04, 0.06), ("int8", True, 0.2, 0.4)],
)
def test_the_tolerance_is_that_of_the_precision_and_the_processor(model, tmp_path, monkeypatch, precision, elsewhere, allowed, refused):
    reference.write(tmp_path, {precision: model})
    if elsewhere:
        monkeypatch.setattr(reference, "cpu_features", lambda: ("another",))
    expected = reference.load(tmp_path, precision, model)
    expected.check(model)
    expected.check(replace(model, engine=Shifted(model.engine, allowed)))
    for share in (refused, -refused):
        with pytest.raises(ModelError, match="reference texts differ by"):
            expected.check(replace(model, engine=Shifted(model.engine, share)))


def test_a_model_of_an_older_version_needs_finite_outputs_alone(model, tmp_path):
    expected = reference.load(tmp_path, "float32", model)
    expected.check(replace(model, engine=Shifted(model.engine, 1.0)))
    with pytest.raises(ModelError, match="NaN or infinity"):
        expected.check(replace(model, engine=Shifted(model.engine, np.nan)))
    with pytest.raises(ModelError, match="NaN or infinity"):
        replace(model, engine=Shifted(model.engine, np.inf)).answer([{"text": "rome"}])


def test_another_tokenizer_with_other_lengths_is_refused(fitted, model, tmp_path):
    """Outputs per token show how a text was cut."""
    task = build(Task, "tag")
    features = model.encoder.encode(reference.records_of(task), task.views(["text"]))

    class Tokens:
        def __init__(self, extra: int) -> None:
            self.extra = extra

        def outputs(self, encoder, features):
            return [np.ones((feature.positions + self.extra, 3), np.float32) for feature in features]

    def tagger(extra: int) -> Predictor:
        sized = task.model_copy(update={"labels": ("A",)})
        assert sized.size == 3
        return replace(model, task=sized, engine=Tokens(extra), columns=("text", "spans"))

    assert features
    reference.write(tmp_path, {"float32": tagger(0)})
    reference.load(tmp_path, "float32", tagger(0)).check(tagger(0))
    with pytest.raises(ModelError, match="other tokens"):
        reference.load(tmp_path, "float32", tagger(1)).check(tagger(1))
