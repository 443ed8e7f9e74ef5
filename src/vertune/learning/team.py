"""Several processes of one training, as `accelerate launch` starts them: what only one of them may decide or write.

Knows nothing of what they train. Alone, a process leads and has nobody to wait for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

_LONGEST = 512


def size() -> int:
    """How many processes work on this training."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def is_leader() -> bool:
    """Whether this process is the one that writes and decides."""
    return size() == 1 or int(os.environ.get("RANK") or 0) == 0


def barrier() -> None:
    """Go on when every process has come here."""
    if size() > 1:
        _state().wait_for_everyone()


def broadcast_text(text: str = "") -> str:
    """The leader's text (at most 512 bytes), on every process; no object is pickled on the way."""
    if size() == 1:
        return text
    import torch
    from accelerate.utils import broadcast

    state = _state()
    sent = text.encode()[:_LONGEST].ljust(_LONGEST, b"\0")
    found = broadcast(torch.frombuffer(bytearray(sent), dtype=torch.uint8).to(state.device))
    return bytes(found.cpu().tolist()).rstrip(b"\0").decode()


def leader_value(engine: Accelerator, value: float) -> float:
    """The leader's number: clocks and disks differ, and processes that decide differently wait for one another for ever."""
    if engine.num_processes == 1:
        return value
    import torch
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device="cpu" if engine.device.type == "cpu" else engine.device)))


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
