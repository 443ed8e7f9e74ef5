"""Times how many tokens of one batch suit a model on this machine; knows nothing of queues."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vertune.runtime.fleet import Executor, Payload

_BUDGETS = (128, 256, 512, 1024, 2048)
_MIN_SPEEDUP = 1.03
"""A larger batch must be faster by this factor to be worth the wait of the requests in it."""
_SECONDS = 0.15
"""How long each budget is timed."""
DEFAULT = 512


def batch_budget(executors: Sequence[Executor], probe: Callable[[Executor, int], list[Payload]]) -> int:
    """Padded tokens of a batch beyond which the first executor hardly answers more payloads a second; warms all of them up.

    `probe(executor, rows)` makes so many payloads of equal length.
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
