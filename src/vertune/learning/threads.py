"""Chooses the number of threads for training; independent of models and data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch

from vertune.core.machine import thread_counts, usable_processors

_SHAPE = (512, 384, 1536)
"""Tokens, width and feed-forward width of the matrix products that are timed: a batch of short texts on a small base."""
_ROUNDS = 5
_GAIN = 0.9
"""More threads are chosen only if they take at most this share of the time of fewer threads; if not, other work can use the processors."""


def use_threads(wanted: int | Literal["auto"]) -> int:
    """Set torch's number of threads and return it; `auto` measures which number is fastest on this machine."""
    threads = fastest(thread_counts(usable_processors()), _seconds) if wanted == "auto" else wanted
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return threads


def fastest(candidates: list[int], seconds: Callable[[int], float]) -> int:
    """Return the candidate with the shortest time in several rounds; ties go to fewer threads.

    Candidates take turns in each round, so that noise affects all of them.
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
    """Return the seconds that some feed-forward computations take with this number of threads."""
    torch.set_num_threads(count)
    rows, width, inner = _SHAPE
    states, up, down = torch.ones(rows, width), torch.ones(width, inner), torch.ones(inner, width)
    started = time.perf_counter()
    for _ in range(4):
        torch.nn.functional.layer_norm(torch.nn.functional.gelu(states @ up) @ down, (width,))
    return time.perf_counter() - started
