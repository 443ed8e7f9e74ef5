"""Every family, task and method as an ONNX graph answers as in torch; what can't is refused with the place."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from vertune.core import part
from vertune.core.errors import ConfigError, ModelError
from vertune.core.kinds import Method, Task
from vertune.core.parse import build
from vertune.encoders.text import Text
from vertune.graphs import editing
from vertune.graphs import tracing as graph
from vertune.nn.vertical import VerticalModel
from vertune.testing import tiny
from vertune.testing.methods import MethodCase

METHODS = {"top_layers": {"n": 1}, "adalora": {"rank": 4, "target": 2}, "prefix": {"positions": 4}, "prompt": {"positions": 4}}


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    make = tiny.maker(tmp_path_factory.mktemp("bases"))
    made: dict[tuple[str, str, str], MethodCase] = {}

    def find(family: str = "bert", task: str = "classify", pooling: str = "auto") -> MethodCase:
        key = (family, task, pooling)
        if key not in made:
            made[key] = MethodCase(Text(base=str(make(family)), pooling=pooling), build(Task, task), rows=12)
        return made[key]

    return find


def features(stand: MethodCase):
    return stand.encoder.encode(stand.records, stand.task.views(list(stand.records[0])))


def answer(made, arrays):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {entry.name: arrays[entry.name] for entry in session.get_inputs()})[0]


def same_on_other_shapes(model: VerticalModel, made, stand: MethodCase, seed: int = 0) -> None:
    """The oracle is torch, on numbers of rows, lengths and masks that the export has not seen."""
    random = np.random.default_rng(seed)
    for rows, tokens in ((1, 3), (2, 17), (5, 40)):
        mask = (np.arange(tokens)[None] < random.integers(2, tokens + 1, rows)[:, None]).astype(np.int64)
        ids = random.integers(5, 40, (rows, tokens)) * mask
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        with torch.no_grad():
            ours = model({name: torch.from_numpy(value) for name, value in arrays.items()}).numpy()
        theirs = answer(made, arrays)
        if ours.ndim > 2:
            ours, theirs = ours[mask.astype(bool)], theirs[mask.astype(bool)]
        np.testing.assert_allclose(theirs, ours, atol=2e-5)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_answers_the_same_as_a_graph(stand, family):
    found = stand(family)
    model = found.fresh().eval()
    same_on_other_shapes(model, graph.export(model, found.encoder, features(found)), found)


@pytest.mark.parametrize("task", part.names("tasks"))
@pytest.mark.parametrize("pooling", ["auto", pytest.param("native", marks=pytest.mark.matrix)])
def test_every_task_answers_the_same_as_a_graph(stand, task, pooling):
    try:
        found = stand("bert", task, pooling)
        model = found.fresh().eval()
    except ConfigError:
        pytest.skip("this task has no native head")
    same_on_other_shapes(model, graph.export(model, found.encoder, features(found)), found)


@pytest.mark.parametrize("method", part.names("methods"))
@pytest.mark.parametrize("family", ["bert", pytest.param("modernbert", marks=pytest.mark.matrix)])
def test_every_method_answers_the_same_as_a_graph(stand, method, family):
    found = stand(family)
    try:
        model = found.prepared(build(Method, {"name": method, **METHODS.get(method, {})})).eval()
    except ConfigError:
        pytest.skip("this method does not work on the family")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.02)
    same_on_other_shapes(model, graph.export(model, found.encoder, features(found)), found)


def test_the_export_leaves_the_model_and_the_warnings_as_they_were(stand, recwarn):
    found = stand()
    model = found.fresh().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attention = model.backbone.config._attn_implementation
    graph.export(model, found.encoder, features(found))
    assert model.backbone.config._attn_implementation == attention
    assert not model.backbone._forward_pre_hooks
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not list(recwarn)


def test_shapes_become_constants_on_the_family_of_the_default_base(stand):
    found = stand()
    made = graph.export(found.fresh().eval(), found.encoder, features(found))
    in_layers = [node for node in made.graph.node if "/layer." in node.name]
    assert in_layers
    assert not {"Shape", "Concat", "Gather"} & {node.op_type for node in in_layers}


def test_a_graph_that_answers_otherwise_is_refused_with_the_place(stand, monkeypatch):
    found = stand()
    forms = graph._forms

    def broken(model, example, roles):
        for made in forms(model, example, roles):
            bias = next(tensor for tensor in made.graph.initializer if tensor.name.endswith("head.bias"))
            bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, bias.name))
            yield made

    monkeypatch.setattr(graph, "_forms", broken)
    with pytest.raises(ModelError, match=r"outputs of text 1 differ by 1"):
        graph.export(found.fresh().eval(), found.encoder, features(found))


def test_values_inside_are_those_of_torch(stand):
    found = stand()
    model = found.fresh().eval()
    made = graph.export(model, found.encoder, features(found))
    product = next(node for node in made.graph.node if "output/dense" in node.name and node.op_type == "MatMul")
    shown = editing.with_outputs(made, [product.input[0]])
    seen = []
    layer = model.backbone.get_submodule("encoder.layer.0.attention.output.dense")
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    arrays = found.encoder.collate(features(found)[:3])
    with torch.no_grad():
        model({name: torch.from_numpy(value) for name, value in arrays.items()})
    handle.remove()
    np.testing.assert_allclose(answer(shown, arrays), seen[0].numpy(), atol=1e-5)
