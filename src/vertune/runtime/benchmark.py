"""Measures the speed and memory use of an ONNX graph in a separate process; does not measure accuracy.

    python -m vertune.runtime.benchmark GRAPH BATCHES '{"features": 512, "threads": 1}'

This command prints the results as one JSON object. BATCHES is a safetensors file of collated batches, whose arrays are named
`batch/array`. A batch named `one-COST` contains a single model input of COST tokens; it is used to measure latency. The batches named
`many-NUMBER` are used to measure throughput; `features` is the total number of model inputs in them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from vertune.batching.batches import by_tokens
from vertune.core.documents import lines
from vertune.core.errors import ModelError, describe_exit
from vertune.core.kinds import Encoder
from vertune.runtime.graph import TOKENS, Graph

Batch = dict[str, NDArray[Any]]

SIZES = (16, 128, 512)
"""Costs of the single model inputs with which latency is measured; for texts, the cost is the number of tokens."""
_FEATURES = 512
"""Largest number of model inputs with which throughput is measured."""
_SECONDS = 0.4
"""Shortest duration of a measurement, in seconds."""
_ONE, _MANY = "one-", "many-"


@dataclass(frozen=True, slots=True)
class GraphWorkload:
    """An ONNX graph to measure, and the costs (for texts, numbers of tokens) of typical model inputs."""

    graph: Path
    encoder: Encoder
    costs: Sequence[int]
    """Costs of typical model inputs; for texts, their numbers of tokens."""


def benchmark(workload: GraphWorkload, threads: int | None = None) -> dict[str, Any]:
    """Measure a graph in a new process with `threads` threads; raise ModelError if that fails.

    Returns a dict. `latency` maps each of several costs (numbers of tokens) to the median seconds for a single model input of this
    cost. `throughput` is the number of typical model inputs per second, `memory` the resident memory in bytes, `threads` the number
    of threads.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "batches.safetensors"
        save_file({f"{batch}/{name}": array for batch, arrays in _batches(workload).items() for name, array in arrays.items()}, file)
        options = json.dumps({"features": len(workload.costs[:_FEATURES]), "threads": threads})
        command = [sys.executable, "-P", "-m", "vertune.runtime.benchmark", os.fspath(workload.graph), os.fspath(file), options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module, no shell
    if done.returncode:
        reason = done.stderr.strip()[-300:] or describe_exit(done.returncode)
        raise ModelError(
            f"The speed of the ONNX graph {workload.graph} could not be measured: {reason}. Free memory and try again, or compress the "
            "model again."
        )
    measured: dict[str, Any] = json.loads(lines(done.stdout)[-1])
    return measured


def _batches(workload: GraphWorkload) -> dict[str, Batch]:
    """Return, by name, the batches with which a graph is measured.

    A batch `one-COST` contains a single model input of COST tokens, for latency. The batches `many-NUMBER` contain the typical model
    inputs of the workload, for throughput; model inputs of similar costs are in the same batch.
    """
    encoder, costs = workload.encoder, np.array(workload.costs[:_FEATURES])
    largest = encoder.max_base_cost
    sizes = [size for size in SIZES if size <= largest] or [largest]
    many = by_tokens(np.argsort(-costs, kind="stable"), costs, TOKENS)
    return {f"{_ONE}{size}": encoder.probe([size]) for size in sizes} | {
        f"{_MANY}{number}": encoder.probe(costs[rows].tolist()) for number, rows in enumerate(many)
    }


def _measure(graph: Graph, batches: dict[str, Batch], features: int) -> dict[str, Any]:
    """Measure the latency, throughput and memory of a graph in this process; return the dict that `benchmark` describes.

    `features` is the total number of model inputs in the batches for throughput.
    """
    latency = {name.removeprefix(_ONE): _seconds(graph, batch) for name, batch in batches.items() if name.startswith(_ONE)}
    many = [batch for name, batch in batches.items() if name.startswith(_MANY)]
    rounds = 0
    started = time.perf_counter()
    while time.perf_counter() - started < _SECONDS or not rounds:
        for batch in many:
            graph.run(batch)
        rounds += 1
    throughput = rounds * features / (time.perf_counter() - started)
    return {"latency": latency, "throughput": throughput, "memory": _resident(), "threads": graph.threads}


def _load(file: str) -> dict[str, Batch]:
    """Return the batches of a safetensors file, by name.

    The batches of a single model input come first, from small to large; the batches for throughput follow in order.
    """
    batches: dict[str, Batch] = {}
    for name, array in load_file(file).items():
        batch, _, part = name.partition("/")
        batches.setdefault(batch, {})[part] = array
    return {name: batches[name] for name in sorted(batches, key=lambda name: (name.startswith(_MANY), int(name.rpartition("-")[2])))}


def _seconds(graph: Graph, batch: Batch) -> float:
    """Return the median time that the graph takes for this batch, in seconds."""
    times: list[float] = []
    for _ in range(3):
        graph.run(batch)
    while sum(times) < _SECONDS:
        started = time.perf_counter()
        graph.run(batch)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _resident() -> int:
    """Return the resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    _graph, _file, _options = sys.argv[1:]
    settings = json.loads(_options)
    result = _measure(Graph(Path(_graph), settings["threads"]), _load(_file), settings["features"])
    sys.stdout.write(json.dumps(result) + "\n")
