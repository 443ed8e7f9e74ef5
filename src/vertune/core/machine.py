"""Information on this machine: its CPU's instruction sets, usable processors and memory, and addresses; independent of models."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

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

    This is the number that the operating system and the processor time of its container allow, divided by the environment variable
    LOCAL_WORLD_SIZE (number of training processes on this machine), but at most the value of the environment variable OMP_NUM_THREADS.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    available = max(1, min([available, *_quotas(Path("/sys/fs/cgroup"))]) // int(os.environ.get("LOCAL_WORLD_SIZE") or 1))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


def _quotas(groups: Path) -> Iterator[int]:
    """Yield how many processors the processor time of this container is worth, rounded up; `groups` has the control groups' files.

    Threads beyond that number would use the time up early, and then all of them wait for the next period.
    """
    for quota, period in ((groups / "cpu.max",) * 2, (groups / "cpu" / "cpu.cfs_quota_us", groups / "cpu" / "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):  # ValueError: `max`, no limit
            allowed, length = int(quota.read_text().split()[0]), int(period.read_text().split()[-1])
            if allowed > 0:  # version 1 of control groups writes -1 for no limit
                yield -(-allowed // length)


def thread_counts(usable_processors: int) -> list[int]:
    """Return the numbers of threads to compare in a measurement: the powers of two up to `usable_processors`, and that number itself."""
    return sorted({2**power for power in range(usable_processors.bit_length())} | {usable_processors})


def memory_limit() -> float:
    """Return the number of bytes that this process may use: the memory of the machine, or a lower limit.

    A container limits the memory through its control group, and a shell through `ulimit -v`. Infinite if nothing is known.
    """
    limits = [float("inf")]
    with suppress(ValueError, OSError, AttributeError):  # not on every system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in _MEMORY_LIMITS:
        with suppress(ValueError, OSError):  # without a limit, the file contains the word max
            limits.append(float(int(Path(file).read_text(encoding="ascii"))))
    with suppress(ImportError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    return float(min(limits))


_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files with the memory limit of the control group of a container, in version 2 and 1 of control groups."""


@cache
def c_function(name: str) -> Any:
    """Return a function of the C library that this process runs with; None if it has none of this name."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows has no library of this kind
        return None


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
