"""How many threads one training uses; knows nothing of what is trained."""

from __future__ import annotations

import os
from typing import Literal

import torch


def use_threads(wanted: int | Literal["auto"]) -> int:
    """Set torch's threads to the number wanted, or to the cores that this process may use; returns the number."""
    count = len(os.sched_getaffinity(0)) if wanted == "auto" and hasattr(os, "sched_getaffinity") else wanted
    threads = max(1, (os.cpu_count() or 1) if count == "auto" else count)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return threads
