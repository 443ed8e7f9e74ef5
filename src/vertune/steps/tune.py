"""tune: measures the graphs of a vertical on this machine and records how each runs best; knows nothing of how they were made.

An int8 graph rounds otherwise on another processor, so it is scored here again where its dataset is at hand.
"""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertune.core import machine
from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.errors import ModelError, NotFound
from vertune.core.files import write_json
from vertune.data.dataset import of_model, read
from vertune.runtime.benchmark import benchmark
from vertune.runtime.predictor import GRAPH, HOST, Predictor

_TEXTS = 256
KEPT_NOT = "not kept"
"""What stands for the model of a graph that was written to be measured only."""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """One graph with so many threads."""

    model: str
    chain: str
    """How it was made: `float32`, `int8`, `distill, int8` …"""
    threads: int
    latency: float
    """Seconds of one short text."""
    throughput: float
    """Texts a second."""
    score: float | None
    """The goal metric on validation, as it is here; None without the dataset."""
    expected: float
    """The same where the model was made."""


def tune(model: Artifact, home: Home, progress: Progress | None = None) -> list[TuneResult]:
    """Measure every compressed model of a vertical with 1, 2, 4 … threads, the quickest for one text first.

    `model` is any model of the vertical. Where none of its graphs is in float32 and the trained model is at hand, that is written
    for the time of the measurement, because a processor without the means for 8 bits may be quicker with it. The best number of
    threads of each, for one text and for many, goes into its folder with the processor's features; `Predictor.open` takes it from
    there. NotFound where nothing was compressed yet.
    """
    name = model.manifest["name"]
    graphs = [one for one in home.shelf("models") if one.manifest_or_empty.get("name") == name and (one.folder / GRAPH).exists()]
    if not graphs:
        raise NotFound(f"'{name}' has no compressed model in {home.folder}. Make one: vertune compress {name}")
    counts = machine.thread_counts(machine.usable_processors())
    found: list[TuneResult] = []
    for number, graph in enumerate(graphs):
        measured = {}
        score, lengths, longest = _scored(graph, home)
        for place, count in enumerate(counts):
            measured[count] = benchmark(graph.folder / GRAPH, lengths, longest, count)
            if progress:
                progress("tuning", step=number * len(counts) + place + 1, steps=len(graphs) * len(counts))
        found += [_of(graph, count, one, score) for count, one in measured.items()]
        gate = graph.manifest["gate"]
        lost = (found[-1].expected - score) * (-1 if gate["lower_is_better"] else 1) if score is not None else None
        write_json(graph.folder / HOST, _record(measured, score, lost))
    if all(graph.manifest["config"]["compress"] for graph in graphs):
        found += _plain(graphs[-1], home, counts)
    return sorted(found, key=lambda one: one.latency)


def _plain(graph: Artifact, home: Home, counts: list[int]) -> list[TuneResult]:
    """The trained model behind a graph, in float32; nothing where it, its base or torch is not here."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnx") is None:
        return []
    from vertune.steps.compress import float32

    try:
        parent = home.get("models", graph.manifest["parents"][0])
        written = float32(parent, home)
    except (NotFound, ModelError):
        return []
    _, lengths, longest = _scored(graph, home)
    expected = graph.manifest["candidates"][0]["metrics"][graph.manifest["gate"]["goal"]]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / GRAPH
        file.write_bytes(written)
        measured = {count: benchmark(file, lengths, longest, count) for count in counts}
    return [TuneResult(KEPT_NOT, "float32", count, _first(one), one["throughput"], None, expected) for count, one in measured.items()]


def _record(measured: dict[int, dict[str, Any]], score: float | None, lost: float | None) -> dict[str, Any]:
    """What a model's folder says of this machine."""
    return {
        "processor": list(machine.cpu_features()),
        "usable": machine.usable_processors(),
        "threads": min(measured, key=lambda count: _first(measured[count])),
        "threads_of_many": max(measured, key=lambda count: measured[count]["throughput"]),
        "measured": {str(count): one for count, one in measured.items()},
        "score": score,
        "lost": lost,
    }


def _scored(graph: Artifact, home: Home) -> tuple[float | None, list[int], int]:
    """The goal metric on validation, the tokens of typical texts, and the most that the model takes."""
    predictor = Predictor.open(graph)
    longest = int(getattr(predictor.encoder, "longest", 512))
    dataset = of_model(graph.manifest, home)
    try:
        frame = read(dataset, "validation") if dataset else None
    except NotFound:
        frame = None
    if frame is None:
        return None, [16] * _TEXTS, longest
    used = [column.name for column in predictor.task.columns if column.name in frame.columns]
    records = frame.select(used).to_dicts()
    columns = list(predictor.columns) or used
    features = predictor.encoder.encode(records[:_TEXTS], predictor.task.views(columns))
    scores = predictor.task.score(records, predictor.answer(records))
    return scores[predictor.task.goal], [len(feature) for feature in features], longest


def _of(graph: Artifact, threads: int, measured: dict[str, Any], score: float | None) -> TuneResult:
    manifest = graph.manifest
    chain = ", ".join(part["name"] for part in manifest["config"]["compress"]) or "float32"
    expected = manifest["metrics"]["validation"][manifest["gate"]["goal"]]
    return TuneResult(graph.id, chain, threads, _first(measured), measured["throughput"], score, expected)


def _first(measured: dict[str, Any]) -> float:
    return float(next(iter(measured["latency"].values())))
