"""Coordinates the processes of one distributed training, which `accelerate launch` starts; independent of models and data.

Only the leader, which is the process of rank 0, writes files and makes decisions. If there is only one process, it is
the leader and never waits.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

_LONGEST = 512
"""Largest size of a text that is sent to the other processes, in bytes."""


def size() -> int:
    """Return the number of processes that train the model together; 1 if the training is not distributed."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def is_leader() -> bool:
    """Return whether this process is the leader (rank 0), which writes files and makes decisions."""
    return size() == 1 or int(os.environ.get("RANK") or 0) == 0


def barrier() -> None:
    """Wait until every process of this training has called this function."""
    if size() > 1:
        _state().wait_for_everyone()


def broadcast_text(text: str = "") -> str:
    """Return, in every process, the text that the leader (the process of rank 0) passes to this function.

    What the other processes pass is ignored. The text is sent as bytes, without pickle, and is cut to 512 bytes.
    """
    if size() == 1:
        return text
    import torch
    from accelerate.utils import broadcast

    state = _state()
    sent = text.encode()[:_LONGEST].ljust(_LONGEST, b"\0")
    found = broadcast(torch.frombuffer(bytearray(sent), dtype=torch.uint8).to(state.device))
    return bytes(found.cpu().tolist()).rstrip(b"\0").decode()


def leader_value(engine: Accelerator, value: float) -> float:
    """Return, in every process, the value that the leader (the process of rank 0) passes to this function.

    What the other processes pass is ignored. This is used for decisions that depend on clocks or disks, which differ
    between processes. If processes decided differently, they would wait for each other forever.
    """
    if engine.num_processes == 1:
        return value
    import torch
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device="cpu" if engine.device.type == "cpu" else engine.device)))


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
