"""The machine that this process runs on: how many processors it may use, and what they can do; knows nothing of models."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_TELLING = ("avx2", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16")
"""Features that decide which products of whole numbers and of bfloat16 a processor computes, and in which order it rounds."""


def usable_processors() -> int:
    """The processors that this process may use: its share of them where several train together, fewer where OMP_NUM_THREADS says so."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = max(1, here // int(os.environ.get("LOCAL_WORLD_SIZE") or 1))
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(here, int(said)) if said.isdecimal() and int(said) else here


def thread_counts(usable_processors: int) -> list[int]:
    """The numbers of threads that are worth trying: powers of two up to the processors, and all of them."""
    return sorted({2**power for power in range(usable_processors.bit_length())} | {usable_processors})


@cache
def cpu_features() -> tuple[str, ...]:
    """The architecture, and those features of its processor that change what an int8 graph computes."""
    told = Path("/proc/cpuinfo")
    try:
        lines = told.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # not Linux: the architecture alone
    flags = next((line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))), [])
    return (platform.machine(), *(name for name in _TELLING if name in flags))
