"""tune: measures the speed of all compressed models with the same name on this machine.

The best number of threads for each model is stored in its folder. Processors differ in how they round int8 products, so
the accuracy is measured again too, if the dataset is on this machine.
"""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vertune.core import machine
from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.columns import only
from vertune.core.errors import ModelError, NotFound
from vertune.core.files import write_json
from vertune.core.spellings import moved_value
from vertune.data.dataset import of_model, read
from vertune.runtime.benchmark import GraphWorkload, benchmark
from vertune.runtime.predictor import GRAPH, HOST, Predictor

_TEXTS = 256
TEMPORARY = "not saved"
"""Used in place of a model's id for a graph that was only written to a temporary file to measure its speed."""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """The speed and the accuracy of one model with one number of threads."""

    model: str
    parent: str
    """Id of the trained model that was compressed."""
    chain: str
    """The compressors that made the model, such as `int8` or `distill, int8`; `float32` for none."""
    threads: int
    latency: float
    """Seconds for one short text."""
    throughput: float
    """Texts per second."""
    score: float | None
    """The task's main metric on the validation rows, measured on this machine; None if the dataset is not in the home folder."""
    expected: float
    """The same metric on the machine where the model was compressed."""


def tune(model: Artifact, home: Home, progress: Progress | None = None) -> list[TuneResult]:
    """Measure every compressed model with the same name as `model` with 1, 2, 4 … threads.

    Returns the results, lowest latency first. If none of these models is an uncompressed float32 graph, and the trained
    model is in the home folder, its float32 graph is measured too, because it can be faster on a processor without int8
    instructions. The best thread counts for one text and for many texts are written into each model's folder, where
    `Predictor.open` reads them. Raises NotFound if no model of this name is compressed.
    """
    name = model.manifest["name"]
    graphs = [
        artifact
        for artifact in home.shelf("models")
        if artifact.manifest_or_empty.get("name") == name and (artifact.folder / GRAPH).exists()
    ]
    if not graphs:
        raise NotFound(f"'{name}' has no compressed model in {home.folder}. Make one: vertune compress {name}")
    counts = machine.thread_counts(machine.usable_processors())
    results: list[TuneResult] = []
    for number, graph in enumerate(graphs):
        measured = {}
        score, workload = _score(graph, home)
        for index, count in enumerate(counts):
            measured[count] = benchmark(workload, count)
            if progress:
                progress("tuning", step=number * len(counts) + index + 1, steps=len(graphs) * len(counts))
        results += [_result(graph, count, measurement, score) for count, measurement in measured.items()]
        gate = graph.manifest["gate"]
        loss = (results[-1].expected - score) * (-1 if gate["lower_is_better"] else 1) if score is not None else None
        write_json(graph.folder / HOST, _host_entries(measured, score, loss))
    if all(moved_value(graph.manifest["config"], "compress.chain", []) for graph in graphs):
        results += _measure_float32(graphs[-1], home, counts)
    return sorted(results, key=lambda result: result.latency)


def _measure_float32(graph: Artifact, home: Home, counts: list[int]) -> list[TuneResult]:
    """Measure the model from which the compressed model `graph` was made, as an uncompressed ONNX graph.

    Returns an empty list if this model, its dataset, torch or onnx is missing, or if the export fails.
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnx") is None:
        return []
    from vertune.steps.compress import float32

    try:
        parent = home.get("models", graph.manifest["parents"][0])
        exported = float32(parent, home)
    except (NotFound, ModelError):
        return []
    _, workload = _score(graph, home)
    expected = graph.manifest["candidates"][0]["metrics"][graph.manifest["gate"]["goal"]]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / GRAPH
        file.write_bytes(exported)
        measured = {count: benchmark(replace(workload, graph=file), count) for count in counts}
    return [
        TuneResult(
            model=TEMPORARY, parent=parent.id, chain="float32", threads=count, latency=_latency(measurement),
            throughput=measurement["throughput"], score=None, expected=expected,
        )
        for count, measurement in measured.items()
    ]  # fmt: skip


def _host_entries(measured: dict[int, dict[str, Any]], score: float | None, loss: float | None) -> dict[str, Any]:
    """Return the content of host.json, a file in a model's folder that describes the model on this machine.

    It contains the best numbers of threads, all measurements, the accuracy on this machine (`score`), and how much
    worse this is than the accuracy on the machine where the model was compressed (`loss`).
    """
    return {
        "processor": list(machine.cpu_features()),
        "usable": machine.usable_processors(),
        "threads": min(measured, key=lambda count: _latency(measured[count])),
        "threads_of_many": max(measured, key=lambda count: measured[count]["throughput"]),
        "measured": {str(count): measurement for count, measurement in measured.items()},
        "score": score,
        "lost": loss,
    }


def _score(graph: Artifact, home: Home) -> tuple[float | None, GraphWorkload]:
    """Return the compressed model's main metric on the validation rows, and a workload to measure its speed.

    The metric is None if the dataset is not in the home folder. The workload consists of the graph and of the lengths
    of the texts, in tokens.
    """
    predictor = Predictor.open(graph)
    workload = GraphWorkload(graph.folder / GRAPH, predictor.encoder, [min(16, predictor.encoder.max_cost)] * _TEXTS)
    dataset = of_model(graph.manifest, home)
    try:
        frame = read(dataset, "validation") if dataset else None
    except NotFound:
        frame = None
    if frame is None:
        return None, workload
    present = [column.name for column in predictor.task.columns if column.name in frame.columns]
    records = only(frame, present).to_dicts()
    columns = list(predictor.columns) or present
    features = predictor.encoder.encode(records[:_TEXTS], predictor.task.views(columns))
    scores = predictor.task.score(records, predictor.answer(records))
    return scores[predictor.task.goal], replace(workload, costs=[feature.cost for feature in features])


def _result(graph: Artifact, threads: int, measurement: dict[str, Any], score: float | None) -> TuneResult:
    """Return the result of one measurement of a compressed model."""
    manifest = graph.manifest
    return TuneResult(
        model=graph.id,
        parent=manifest["parents"][0],
        chain=", ".join(part["name"] for part in moved_value(manifest["config"], "compress.chain", [])) or "float32",
        threads=threads,
        latency=_latency(measurement),
        throughput=measurement["throughput"],
        score=score,
        expected=manifest["metrics"]["validation"][manifest["gate"]["goal"]],
    )


def _latency(measurement: dict[str, Any]) -> float:
    """Return the seconds that one text of the shortest measured length takes."""
    return float(next(iter(measurement["latency"].values())))
