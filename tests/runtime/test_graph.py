"""A process that answers with a graph holds neither torch nor transformers, and many texts change nothing but the time."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from vertune.core.errors import ModelError
from vertune.data.validate import text_records
from vertune.runtime.benchmark import GraphWorkload, benchmark
from vertune.runtime.graph import Graph
from vertune.runtime.predictor import GRAPH, Predictor
from vertune.steps.predict import answer, predict


@pytest.fixture
def made(compressed):
    return compressed[1]


def test_answering_imports_no_torch(made):
    code = f"""
        import sys, vertune
        found = vertune.load({str(made.folder)!r}).predict("tell me of rome")
        assert found["label"] in ("place", "food"), found
        heavy = {{"torch", "transformers", "polars", "onnx", "sklearn", "jinja2", "typer", "yaml"}} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_one_text_and_many_are_answered_alike(made):
    predictor = Predictor.open(made)
    records = [{"text": f"tell me {place} of rome and {'bread ' * (place % 9)}"} for place in range(40)]
    together = predictor.answer(records)
    for record, one in zip(records, together, strict=True):
        (alone,) = predictor.answer([record])
        assert alone["label"] == one["label"]
        assert alone["probability"] == pytest.approx(one["probability"], abs=1e-6)


def test_the_short_way_answers_as_the_frame_does(made):
    import polars as pl

    predictor = Predictor.open(made)
    for rows in ([{"text": "of rome"}], [{"query": "of rome"}, {"query": "soup"}], [{"text": " spaces ", "label": "food", "n": 3}]):
        assert text_records(predictor, rows) is not None
        assert predict(predictor, rows) == answer(predictor, pl.DataFrame(rows)).answers
    for rows in (
        [{"text": "a", "query": "b"}],
        [{"text": ""}],
        [{"text": 3}],
        [],
        [{"text": "a"}] * 100,
        [{"other": "a"}],
        [{"text": "a", "text_pair": " "}],
    ):
        assert text_records(predictor, rows) is None


def test_a_batch_that_the_graph_can_t_take_is_an_error(made):
    graph = Graph(made.folder / GRAPH, 1)
    arrays = {name: np.full((1, 3), 10**6) for name in ("input_ids", "attention_mask", "token_type_ids")}
    with pytest.raises(ModelError, match="could not compute a batch"):
        graph.run(arrays)


def test_speed_is_measured_in_a_process_of_its_own(made):
    encoder = Predictor.open(made).encoder
    found = benchmark(GraphWorkload(made.folder / GRAPH, encoder, [5, 9, 7]), 1)
    assert set(found) == {"latency", "throughput", "memory", "threads"}
    assert list(found["latency"]) == ["16", "128"]
    assert found["latency"]["16"] > 0
    assert found["throughput"] > 0
    assert found["threads"] == 1
    assert 10e6 < found["memory"] < 1e9
    with pytest.raises(ModelError, match="could not be measured"):
        benchmark(GraphWorkload(made.folder / "manifest.json", encoder, [5]))


def test_vectors_of_a_graph_are_its_outputs_and_of_a_model_what_its_head_reads(made, fitted):
    records = [{"text": "tell me of rome"}, {"text": "tell me of bread and soup"}]
    graph, model = Predictor.open(made).vectors(records), Predictor.open(fitted[1].model).vectors(records)
    assert (graph.shape, model.shape) == ((2, 2), (2, 32))
    for found in (graph, model):
        assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(model[0], model[1])
