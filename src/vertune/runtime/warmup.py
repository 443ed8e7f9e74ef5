"""How many tokens of one batch suit a model on this machine, found by timing; knows nothing of queues."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vertune.runtime.fleet import Executor, Payload

_BUDGETS = (128, 256, 512, 1024, 2048)
_ENOUGH = 1.03
"""A larger batch must be faster by this factor to be worth the wait of those in it."""
_SECONDS = 0.15
DEFAULT = 512


def batch_budget(lanes: Sequence[Executor], probe: Callable[[Executor, int], list[Payload]]) -> int:
    """The padded tokens of a batch beyond which the first of these lanes answers hardly more a second; warms all of them up.

    `probe` makes so many payloads of equal length for a lane.
    """
    unique = list(dict.fromkeys(lanes))
    for lane in unique:
        lane.compute(probe(lane, 2))
    if not unique:
        return DEFAULT
    lane = unique[0]
    length = probe(lane, 1)[0][0].cost
    best, chosen = 0.0, _BUDGETS[0]
    for tokens in _BUDGETS:
        rows = max(1, tokens // length)
        payloads = probe(lane, rows)
        times: list[float] = []
        while sum(times) < _SECONDS or len(times) < 2:
            started = time.perf_counter()
            lane.compute(payloads)
            times.append(time.perf_counter() - started)
        speed = rows / min(times)
        if speed > best * _ENOUGH:
            best, chosen = speed, tokens
    return chosen
