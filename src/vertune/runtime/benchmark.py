"""How fast a graph answers and how much memory that takes, in a process of its own; knows nothing of texts or accuracy.

    python -m vertune.runtime.benchmark GRAPH BATCHES '{"features": 512, "threads": 1}'

prints one JSON object. BATCHES is a safetensors file of collated batches, whose arrays are named `batch/array`; a batch is
`one-COST`, a single feature whose latency is measured, or `many-NUMBER`, one of those that throughput is measured on.
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
from vertune.core.errors import ModelError
from vertune.core.kinds import Encoder
from vertune.runtime.graph import TOKENS, Graph

Batch = dict[str, NDArray[Any]]

SIZES = (16, 128, 512)
"""Costs of the single feature whose latency is measured, in tokens where features are texts."""
_FEATURES = 512
_SECONDS = 0.4
"""How long each measurement lasts at least."""
_ONE, _MANY = "one-", "many-"


@dataclass(frozen=True, slots=True)
class GraphWorkload:
    """A graph, and the features that it is timed on."""

    graph: Path
    encoder: Encoder
    costs: Sequence[int]
    """Costs of typical features."""


def benchmark(workload: GraphWorkload, threads: int | None = None) -> dict[str, Any]:
    """Measure a graph in a fresh process; ModelError where that fails.

    Returns the median time of one feature in seconds by its cost (`latency`), features of the typical costs per second
    (`throughput`), resident bytes (`memory`), `threads`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "batches.safetensors"
        save_file({f"{batch}/{name}": array for batch, arrays in _batches(workload).items() for name, array in arrays.items()}, file)
        options = json.dumps({"features": len(workload.costs[:_FEATURES]), "threads": threads})
        command = [sys.executable, "-P", "-m", "vertune.runtime.benchmark", os.fspath(workload.graph), os.fspath(file), options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module, no shell
    if done.returncode:
        reason = done.stderr.strip()[-300:]
        raise ModelError(f"{workload.graph} could not be measured: {reason}. Free memory and try again, or compress the model again.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _batches(workload: GraphWorkload) -> dict[str, Batch]:
    """Single features of several costs, and the typical features in batches of near costs."""
    encoder, costs = workload.encoder, np.array(workload.costs[:_FEATURES])
    largest = encoder.max_base_cost
    sizes = [size for size in SIZES if size <= largest] or [largest]
    many = by_tokens(np.argsort(-costs, kind="stable"), costs, TOKENS)
    return {f"{_ONE}{size}": encoder.probe([size]) for size in sizes} | {
        f"{_MANY}{number}": encoder.probe(costs[rows].tolist()) for number, rows in enumerate(many)
    }


def _measured(graph: Graph, batches: dict[str, Batch], features: int) -> dict[str, Any]:
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


def _loaded(file: str) -> dict[str, Batch]:
    """The batches of a file, single features from small to large, then the others in order."""
    found: dict[str, Batch] = {}
    for name, array in load_file(file).items():
        batch, _, part = name.partition("/")
        found.setdefault(batch, {})[part] = array
    return {name: found[name] for name in sorted(found, key=lambda name: (name.startswith(_MANY), int(name.rpartition("-")[2])))}


def _seconds(graph: Graph, batch: Batch) -> float:
    """Median time of a call."""
    times: list[float] = []
    for _ in range(3):
        graph.run(batch)
    while sum(times) < _SECONDS:
        started = time.perf_counter()
        graph.run(batch)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _resident() -> int:
    """Bytes of this process in memory now; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    _graph, _file, _options = sys.argv[1:]
    asked = json.loads(_options)
    found = _measured(Graph(Path(_graph), asked["threads"]), _loaded(_file), asked["features"])
    sys.stdout.write(json.dumps(found) + "\n")
