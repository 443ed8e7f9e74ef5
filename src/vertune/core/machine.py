"""Information on this machine: its CPU's instruction sets, how many processors may be used, its addresses; independent of models."""

from __future__ import annotations

import ipaddress
import os
import platform
from functools import cache
from pathlib import Path

from vertune.core.documents import lines

_ARITHMETIC_FLAGS = (
    "avx2",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)
"""Names of CPU instruction sets, as in /proc/cpuinfo, on which the rounding of int8 and bfloat16 products depends."""


def usable_processors() -> int:
    """Return the number of processors that this process may use.

    This is the number that the operating system allows, divided by the environment variable LOCAL_WORLD_SIZE (number of training
    processes on this machine), but at most the value of the environment variable OMP_NUM_THREADS.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    available = max(1, available // int(os.environ.get("LOCAL_WORLD_SIZE") or 1))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


def thread_counts(usable_processors: int) -> list[int]:
    """Return the numbers of threads to compare in a measurement: the powers of two up to `usable_processors`, and that number itself."""
    return sorted({2**power for power in range(usable_processors.bit_length())} | {usable_processors})


@cache
def cpu_features() -> tuple[str, ...]:
    """Return the processor's architecture and its instruction sets that affect the rounding of int8 and bfloat16 products."""
    try:
        entries = lines(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        entries = []  # not Linux: only the architecture is known
    flags = next((line.partition(":")[2].split() for line in entries if line.lower().startswith(("flags", "features"))), [])
    return (platform.machine(), *(name for name in _ARITHMETIC_FLAGS if name in flags))


def loopback(host: str) -> bool:
    """Return whether a host name or IP address is a loopback address, which can be reached from this machine only."""
    name = host.lower().removesuffix(".")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
