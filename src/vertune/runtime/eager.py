"""A trained model in torch: the base, with what training changed; knows nothing of ONNX or of what is answered."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from vertune.core.errors import ConfigError, MissingExtra
from vertune.core.kinds import Encoder, Task
from vertune.core.records import Feature


def check_device(device: str) -> None:
    """ConfigError where torch has no such device here, MissingExtra where there is no torch."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra(f"Answering on the device '{device}'", "train", "torch") from error
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without it
        there = ", ".join(["cpu", *(f"cuda:{place}" for place in range(torch.cuda.device_count()))])
        raise ConfigError(f"The device '{device}' can't be used: {str(error).splitlines()[0]}. Choose from: {there}.") from error


class Eager:
    """A vertical in memory, on the GPU where there is one."""

    def __init__(self, model: Any, tokens: int, device: str | None = None) -> None:
        """`model` is that of nn/vertical.py, `tokens` the most of one forward pass; without a device, the GPU where there is one."""
        import torch

        self.model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        self.tokens = tokens

    @classmethod
    def load(cls, folder: Path, encoder: Encoder, task: Task, tokens: int) -> Self:
        """The base with the delta of a folder applied."""
        from vertune.nn import delta, edits
        from vertune.nn.build import build

        model = build(encoder, task)
        edits.apply(model, delta.load(folder))
        return cls(model, tokens)

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """The head's outputs, one array a feature."""
        from vertune.nn.run import outputs

        return outputs(self.model, encoder, features, self.tokens)


class TorchSegment:
    """All layers of a shared backbone in torch, on the GPU where there is one."""

    def __init__(self, mixed: Any, device: str | None = None) -> None:
        """`mixed` is that of nn/banks.py; without a device, the GPU where there is one."""
        import torch

        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.mixed = mixed.to(self.device).eval()
        self._lock = threading.Lock()
        self.end = 1 << 29
        """Above all layers: rows part before the embeddings, or at the head."""

    def run(
        self, arrays: Mapping[str, NDArray[Any]], states: NDArray[Any] | None, slots: NDArray[Any], banks: Mapping[str, NDArray[Any]]
    ) -> NDArray[Any]:
        """The last states; of the banks, only what the batch's slots hold goes to the device."""
        import torch

        from vertune.nn.banks import gather
        from vertune.nn.run import tensors

        held = gather({name: torch.from_numpy(bank) for name, bank in banks.items()}, torch.from_numpy(slots))
        given = {name: tensor.to(self.device) for name, tensor in held.items()}
        with self._lock, torch.no_grad():  # the hooks of `mixed` read one batch's rows from it, so that a second batch waits
            last = self.mixed(tensors(dict(arrays), self.device), given)[-1]
        out: NDArray[Any] = last.float().cpu().numpy()
        return out
