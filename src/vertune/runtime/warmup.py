"""Measures the best number of tokens per batch on this machine; independent of queues."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vertune.runtime.fleet import Executor, Payload

_BUDGETS = (128, 256, 512, 1024, 2048)
"""Numbers of padded tokens per batch that are tried."""
_MIN_SPEEDUP = 1.03
"""A larger batch must be faster by this factor, because its requests wait longer."""
_SECONDS = 0.15
"""Shortest time for which each budget is measured, in seconds."""
DEFAULT = 512
"""Padded tokens per batch if nothing is served yet."""


def batch_budget(executors: Sequence[Executor], probe: Callable[[Executor, int], list[Payload]]) -> int:
    """Warm up all executors, and return the number of padded tokens per batch above which the first one is hardly faster.

    `probe(executor, rows)` returns `rows` payloads of equal length.
    """
    unique = list(dict.fromkeys(executors))
    for executor in unique:
        executor.compute(probe(executor, 2))
    if not unique:
        return DEFAULT
    executor = unique[0]
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
