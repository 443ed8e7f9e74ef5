"""Coordination of the processes of one training, as `accelerate launch` starts them; knows nothing of what they train.

The leader alone writes files and makes decisions. A single process is its own leader and waits for nobody.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

_LONGEST = 512


def size() -> int:
    """Number of processes of this training."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def is_leader() -> bool:
    """Whether this process writes files and makes decisions."""
    return size() == 1 or int(os.environ.get("RANK") or 0) == 0


def barrier() -> None:
    """Wait until every process has called this."""
    if size() > 1:
        _state().wait_for_everyone()


def broadcast_text(text: str = "") -> str:
    """Return the leader's text (at most 512 bytes) on every process, without pickling."""
    if size() == 1:
        return text
    import torch
    from accelerate.utils import broadcast

    state = _state()
    sent = text.encode()[:_LONGEST].ljust(_LONGEST, b"\0")
    found = broadcast(torch.frombuffer(bytearray(sent), dtype=torch.uint8).to(state.device))
    return bytes(found.cpu().tolist()).rstrip(b"\0").decode()


def leader_value(engine: Accelerator, value: float) -> float:
    """Return the leader's number on every process. Clocks and disks differ, and processes that decide differently deadlock."""
    if engine.num_processes == 1:
        return value
    import torch
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device="cpu" if engine.device.type == "cpu" else engine.device)))


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
