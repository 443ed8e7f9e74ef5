"""8 bits beside the plain slow way: a float graph whose tensors are rounded by hand; and what the search finds."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from vertune.compressors import int8
from vertune.core.kinds import CompressionContext, StandaloneModel, Task
from vertune.core.parse import build
from vertune.encoders.text import Text
from vertune.graphs import editing
from vertune.graphs import tracing as graph
from vertune.runtime.graph import Graph
from vertune.testing import tiny
from vertune.testing.methods import MethodCase


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    make = tiny.maker(tmp_path_factory.mktemp("bases"))
    return MethodCase(Text(base=str(make("bert", vocab_size=4000, intermediate_size=64))), build(Task, "classify"), rows=48)


def whole_of(stand: MethodCase, model) -> StandaloneModel:
    features = stand.encoder.encode(stand.records, stand.task.views(list(stand.records[0])))
    return StandaloneModel(stand.encoder, stand.task, graph.export(model, stand.encoder, features))


@pytest.fixture(scope="module")
def whole(stand):
    return whole_of(stand, stand.fresh().eval())


def bench_of(stand: MethodCase, accepts=lambda whole: True) -> CompressionContext:
    columns = list(stand.records[0])

    def encoded(records):
        return stand.encoder.encode(records, stand.task.views(columns))

    def answer(found: StandaloneModel, records: Sequence[dict]):
        return Graph(found.body.SerializeToString(), 1).outputs(found.encoder, encoded(records))

    def look(found: StandaloneModel, records, names):
        shown = Graph(editing.with_outputs(found.body, names).SerializeToString(), 1)
        arrays = found.encoder.collate(encoded(records))
        yield shown.values(arrays, names, found.encoder.mask(arrays))

    return CompressionContext(
        train=stand.records, unlabelled=[], columns=columns, seed=0, distil=lambda *given: None, outputs=answer, activations=look,
        accepts=accepts, progress=lambda kind, **fields: None, folder=Path("unused"),
    )  # fmt: skip


def outputs(found: StandaloneModel, stand: MethodCase):
    return np.stack(bench_of(stand).outputs(found, stand.records))


def by_hand(whole: StandaloneModel, stand: MethodCase) -> onnx.ModelProto:
    """The float graph with every constant, and the input of every product, rounded to what 8 bits hold of it."""
    made = copy.deepcopy(whole.body)
    places = int8.sites(made)
    scales = int8._calibrate(whole, bench_of(stand), stand.records, places)
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    nodes = []
    for node in made.graph.node:
        kind = places.get(int8._site(node)) if node.op_type in ("MatMul", "Gather") else None
        if kind == "table":
            table = numpy_helper.to_array(constants[node.input[0]])
            held, scale = int8.quantise_matrix(table, 127, axis=1)
            constants[node.input[0]].CopyFrom(numpy_helper.from_array((held * scale[:, None]).astype(np.float32), node.input[0]))
        elif kind == "product":
            scale, name = scales[node.input[0]], node.output[0]
            spread = np.ones(1, np.float32) if scale.spread is None else scale.spread
            matrix = numpy_helper.to_array(constants[node.input[1]])
            held, step = int8.quantise_matrix(matrix * np.broadcast_to(spread, len(matrix))[:, None], 127, axis=0)
            size, zero = int8._step_and_zero(scale.low, scale.high)
            values = {"w": held * step, "spread": spread, "size": np.float32(size), "zero": np.float32(zero), "least": np.float32(0),
                      "most": np.float32(255)}  # fmt: skip
            for key, value in values.items():
                made.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), f"{name}.{key}"))
            steps = [
                ("Div", [node.input[0], f"{name}.spread"], "a"), ("Div", [f"{name}.a", f"{name}.size"], "b"), ("Round", [f"{name}.b"], "c"),
                ("Add", [f"{name}.c", f"{name}.zero"], "d"), ("Clip", [f"{name}.d", f"{name}.least", f"{name}.most"], "e"),
                ("Sub", [f"{name}.e", f"{name}.zero"], "f"), ("Mul", [f"{name}.f", f"{name}.size"], "g"),
            ]  # fmt: skip
            nodes += [onnx.helper.make_node(kind, inputs, [f"{name}.{out}"]) for kind, inputs, out in steps]
            node.input[0], node.input[1] = f"{name}.g", f"{name}.w"
        nodes.append(node)
    nodes = [copy.deepcopy(node) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def test_whole_numbers_compute_what_rounded_floats_do(whole, stand):
    made = int8.Int8().shrink(whole, bench_of(stand))
    kinds = {node.op_type for node in made.body.graph.node}
    assert "MatMulIntegerToFloat" in kinds
    assert not {node.name for node in made.body.graph.node if node.op_type == "MatMul" and "dense" in node.name}
    expected = outputs(dataclasses.replace(whole, body=by_hand(whole, stand)), stand)
    # a value that lies between two steps may be rounded either way by another order of sums, so the few that are may differ
    near = np.isclose(outputs(made, stand), expected, atol=2e-3)
    assert near.mean() > 0.98
    assert not np.allclose(outputs(made, stand), outputs(whole, stand), atol=1e-6), "nothing was rounded"


def test_the_file_is_a_quarter_of_the_weights(whole, stand):
    made = int8.Int8().shrink(whole, bench_of(stand))
    assert made.body.ByteSize() < 0.4 * whole.body.ByteSize()


def test_an_answer_does_not_depend_on_its_batch(whole, stand):
    made = int8.Int8().shrink(whole, bench_of(stand))
    session = Graph(made.body.SerializeToString(), 1)
    features = stand.encoder.encode(stand.records, stand.task.views(list(stand.records[0])))
    together = session.run(stand.encoder.collate(features))
    for place, feature in enumerate(features):
        np.testing.assert_allclose(session.run(stand.encoder.collate([feature]))[0], together[place], atol=1e-6)


def test_dynamic_scales_come_from_the_batch(whole, stand):
    made = int8.Int8(activations="dynamic").shrink(whole, bench_of(stand))
    assert "DynamicQuantizeLinear" in {node.op_type for node in made.body.graph.node}
    assert np.abs(outputs(made, stand) - outputs(whole, stand)).max() < 0.2


def test_what_is_to_be_kept_stays_in_float32(whole, stand):
    made = int8.Int8(keep=["layer.1", "embeddings"]).shrink(whole, bench_of(stand))
    left = [node.name for node in made.body.graph.node if node.op_type == "MatMul" and "dense" in node.name]
    assert left
    assert all("layer.1" in name for name in left)
    assert not any(node.op_type == "Gather" and "_int8" in node.input[0] for node in made.body.graph.node)


def test_the_search_finds_the_planted_outlier_and_leaves_nothing_else(stand):
    """Planted: one inner channel of layer 1 is 10,000 times the others and adds nothing, so that 8 bits hold nothing of the rest."""
    model = stand.fresh().eval()
    with torch.no_grad():
        model.backbone.encoder.layer[1].intermediate.dense.bias[3] = 1e4
        model.backbone.encoder.layer[1].output.dense.weight[:, 3] = 0
    whole = whole_of(stand, model)
    expected = outputs(whole, stand)

    def near(found: StandaloneModel) -> bool:
        return bool(np.abs(outputs(found, stand) - expected).max() < 0.1)

    # spreading channels would mend it too; dynamic scales have no spread
    everything = int8.Int8(activations="dynamic", search=False).shrink(whole, bench_of(stand))
    assert not near(everything)
    said = []
    bench = dataclasses.replace(bench_of(stand, near), progress=lambda kind, **fields: said.append((kind, fields)))
    found = int8.Int8(activations="dynamic").shrink(whole, bench)
    assert near(found)
    assert said[-1] == ("left", {"sites": "backbone/encoder/layer.1/output/dense", "count": 1, "of": len(int8.sites(whole.body))})
    assert near(int8.Int8(search=False).shrink(whole, bench_of(stand))), "static scales divide the channel first"


def test_where_nothing_passes_all_stays_as_it_was(whole, stand):
    found = int8.Int8().shrink(whole, bench_of(stand, lambda found: False))
    np.testing.assert_allclose(outputs(found, stand), outputs(whole, stand), atol=1e-6)


def test_seven_bits_are_taken_where_sums_would_overflow(monkeypatch):
    monkeypatch.setattr(int8, "cpu_features", lambda: ("x86_64", "avx2"))
    assert int8.Int8()._levels() == 63
    assert int8.Int8(bits=8)._levels() == 127
    monkeypatch.setattr(int8, "cpu_features", lambda: ("x86_64", "avx2", "avx512_vnni"))
    assert int8.Int8()._levels() == 127
