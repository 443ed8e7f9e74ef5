"""Measures the best number of tokens per batch on this machine; independent of queues."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from vertune.runtime.fleet import Executor, Payload

_log = logging.getLogger("vertune")
_BUDGETS = (128, 256, 512, 1024, 2048)
"""The numbers of tokens per batch, padding included, that are tried."""
_MIN_SPEEDUP = 1.03
"""A larger batch is chosen only if it raises the throughput by this factor, because its requests wait longer."""
_SECONDS = 0.15
"""Shortest time for which each number of tokens is measured, in seconds."""
DEFAULT = 512
"""Number of tokens per batch, padding included, if no model is served yet."""


def batch_budget(executors: Sequence[Executor], probe: Callable[[Executor, int], list[Payload]]) -> int:
    """Return the number of tokens per batch, padding included, beyond which larger batches raise the throughput by at most 3 %.

    Runs every executor (a model in memory) once to warm it up, and measures the first one. `probe(executor, rows)` returns a batch of
    `rows` inputs of equal length. An executor that raises an exception is left out. Without executors, returns `DEFAULT`.
    """
    working = []
    for executor in dict.fromkeys(executors):
        try:
            executor.compute(probe(executor, 2))
        except Exception as error:  # of any type, because the other models may still work
            _log.warning("A model could not compute its first batch: %s", error)
        else:
            working.append(executor)
    if not working:
        return DEFAULT
    executor = working[0]
    length = probe(executor, 1)[0][0].cost
    fastest, budget = 0.0, _BUDGETS[0]
    for tokens in _BUDGETS:
        rows = max(1, tokens // length)
        payloads = probe(executor, rows)
        times: list[float] = []
        while sum(times) < _SECONDS or len(times) < 2:
            started = time.perf_counter()
            executor.compute(payloads)
            times.append(time.perf_counter() - started)
        speed = rows / min(times)
        if speed > fastest * _MIN_SPEEDUP:
            fastest, budget = speed, tokens
    return budget
