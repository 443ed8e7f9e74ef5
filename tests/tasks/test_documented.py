"""The task that docs/add/task.md shows is a task."""

from __future__ import annotations

import pytest
import torch
from tests.documented import offered

from vertune.core.errors import ModelError
from vertune.core.kinds import Export, Method
from vertune.core.parse import build
from vertune.encoders.text import Text
from vertune.nn import edits
from vertune.nn.trained import TrainedModel
from vertune.testing import tiny
from vertune.testing.methods import MethodCase
from vertune.testing.tasks import CHECKS, fitted


@pytest.fixture
def kind(tmp_path):
    with offered("task.md", "tasks", "ordinal", tmp_path) as made:
        yield made


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_documented_task_keeps_the_contract(kind, check):
    check(kind)


def test_its_probabilities_are_those_of_grades(kind):
    import numpy as np

    from vertune.testing.tasks import features_of

    task, records = fitted(kind)
    answers = task.decode(records[:2], features_of(task, records[:2]), [np.array([5.0, -5.0]), np.array([-5.0, 5.0])])
    assert [answer["label"] for answer in answers] == ["1", "0"]
    assert all(abs(sum(answer["probabilities"].values()) - 1) < 1e-9 for answer in answers)


def test_it_exports_to_onnx_without_the_script_and_says_so(kind, tmp_path, caplog):
    stand = MethodCase(Text(base=str(tiny.write("bert", tmp_path / "base"))), kind(), rows=16)
    model = stand.prepared(build(Method, "full")).eval()
    trained = TrainedModel("urgency", stand.encoder, stand.task, model, [*edits.layer_edits(model), *edits.head_edits(model)])
    folder = tmp_path / "bundle"
    folder.mkdir()
    form = build(Export, "onnx")
    form.write(trained, folder)
    form.check(trained, folder)
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "tokenizer.json", "task.json", "README.md"}
    assert "The task 'ordinal' has no decoder" in caplog.text
    assert "has no decoder" in (folder / "README.md").read_text()
    with torch.no_grad():
        model.head.bias.add_(1.0)
    with pytest.raises(ModelError, match="In ONNX Runtime, the outputs for test input 1 differ"):
        form.check(trained, folder)
