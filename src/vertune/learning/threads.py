"""Chooses the number of threads for training; independent of models and data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch

from vertune.core.machine import thread_counts, usable_processors

_SHAPE = (512, 384, 1536)
"""Tokens, width and feed-forward width of the matrix products that are timed: a batch of short texts in a small base model."""
_ROUNDS = 5
_GAIN = 0.9
"""More threads are chosen only if they take at most this fraction of the time of fewer threads; else other work can use the processors."""


def use_threads(wanted: int | Literal["auto"]) -> int:
    """Set torch's number of threads, and return it; with `auto`, it is the number that is fastest on this machine."""
    threads = fastest(thread_counts(usable_processors()), _seconds) if wanted == "auto" else wanted
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return threads


def fastest(candidates: list[int], seconds: Callable[[int], float]) -> int:
    """Return the fastest number of threads; a larger number is chosen only if it saves at least 10 % of the time.

    `candidates` are the numbers to compare, in ascending order. `seconds` is called with one of them, and returns how
    long a measurement took. Each of several rounds measures all candidates, so that other load on the machine affects
    all alike.
    """
    if len(candidates) == 1:
        return candidates[0]
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(_ROUNDS):
        for count in candidates:
            best[count] = min(best[count], seconds(count))
    chosen = candidates[0]
    for count in candidates[1:]:
        if best[count] <= _GAIN * best[chosen]:
            chosen = count
    return chosen


@torch.no_grad()
def _seconds(count: int) -> float:
    """Measure, in seconds, how long a few typical matrix products take with `count` threads."""
    torch.set_num_threads(count)
    rows, width, inner = _SHAPE
    states, up, down = torch.ones(rows, width), torch.ones(width, inner), torch.ones(inner, width)
    started = time.perf_counter()
    for _ in range(4):
        torch.nn.functional.layer_norm(torch.nn.functional.gelu(states @ up) @ down, (width,))
    return time.perf_counter() - started
