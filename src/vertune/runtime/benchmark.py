"""How fast a graph answers and how much memory that takes, in a process of its own; knows nothing of texts or accuracy.

    python -m vertune.runtime.benchmark GRAPH '{"lengths": [16, 9], "longest": 128, "threads": 1}'

prints one JSON object.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.batching.batches import by_tokens
from vertune.core.errors import ModelError
from vertune.runtime.graph import TOKENS, Graph

SIZES = (16, 128, 512)
"""Tokens of the one text whose time is measured."""
_TEXTS = 512
_SECONDS = 0.4
"""How long each measurement lasts at least."""


def benchmark(graph: Path, lengths: list[int], longest: int, threads: int | None = None) -> dict[str, Any]:
    """Measure a file in a fresh process; ModelError where that fails.

    `lengths` are the tokens of typical texts, `longest` the most that the model takes. Returns the median time of one text in
    seconds by its tokens (`latency`), texts of these lengths a second (`throughput`), resident bytes (`memory`), `threads`.
    """
    said = json.dumps({"lengths": lengths[:_TEXTS], "longest": longest, "threads": threads})
    command = [sys.executable, "-P", "-m", "vertune.runtime.benchmark", os.fspath(graph), said]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module, no shell
    if done.returncode:
        raise ModelError(f"{graph} could not be measured: {done.stderr.strip()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(graph: Graph, lengths: list[int], longest: int) -> dict[str, Any]:
    sizes = [size for size in SIZES if size <= longest] or [longest]
    latency = {str(size): _seconds(graph, _batch([size])) for size in sizes}
    order = np.argsort(-np.array(lengths), kind="stable")
    batches = [_batch([lengths[row] for row in rows]) for rows in by_tokens(order, np.array(lengths), TOKENS)]
    rounds = 0
    started = time.perf_counter()
    while time.perf_counter() - started < _SECONDS or not rounds:
        for batch in batches:
            graph.run(batch)
        rounds += 1
    throughput = rounds * len(lengths) / (time.perf_counter() - started)
    return {"latency": latency, "throughput": throughput, "memory": _resident(), "threads": graph.threads}


def _batch(lengths: list[int]) -> dict[str, NDArray[np.int64]]:
    """Token ids that every vocabulary has, as long as asked for."""
    mask = (np.arange(max(lengths))[None] < np.array(lengths)[:, None]).astype(np.int64)
    ids = (np.arange(max(lengths))[None] % 40 + 5) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def _seconds(graph: Graph, batch: dict[str, NDArray[np.int64]]) -> float:
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
    asked = json.loads(sys.argv[2])
    sys.stdout.write(json.dumps(_measured(Graph(Path(sys.argv[1]), asked["threads"]), asked["lengths"], asked["longest"])) + "\n")
