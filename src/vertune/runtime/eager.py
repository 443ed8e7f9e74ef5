"""Runs a trained model in torch: its base model with the trained changes applied; independent of ONNX and of tasks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from vertune.core.errors import ConfigError, MissingExtra, first_line
from vertune.core.kinds import Encoder, Task
from vertune.core.records import Feature


def check_device(device: str) -> None:
    """Check that torch can use this device; raise ConfigError if it can't, MissingExtra if torch is not installed."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra(f"Predicting on the device '{device}'", "train", "torch") from error
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError if torch was built without this kind of device
        there = ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
        raise ConfigError(f"The device '{device}' can't be used: {first_line(error)}. Choose a device of this machine: {there}.") from error


class Eager:
    """A trained model that computes its outputs in torch, on the GPU if there is one."""

    def __init__(self, model: Any, tokens: int, device: str | None = None) -> None:
        """Move `model`, a torch model of the class VerticalModel, to the device; the default is a GPU if there is one.

        `tokens` is the maximum number of tokens, padding included, in one forward pass.
        """
        import torch

        self.model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        self.tokens = tokens

    @classmethod
    def load(cls, folder: Path, encoder: Encoder, task: Task, tokens: int) -> Self:
        """Load the base model and apply the trained changes that the folder contains.

        `tokens` is the maximum number of tokens, padding included, in one forward pass.
        """
        from vertune.nn import delta, edits
        from vertune.nn.build import build

        model = build(encoder, task)
        edits.apply(model, delta.load(folder))
        return cls(model, tokens)

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return the outputs of the model's head, one array per feature (model input)."""
        from vertune.nn.run import outputs

        return outputs(self.model, encoder, features, self.tokens)

    def states(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return what the model's head reads, one array per feature (model input)."""
        from vertune.nn.run import outputs

        return outputs(self.model, encoder, features, self.tokens, states=True)


class TorchSegment:
    """All layers of a shared base model, computed in torch, on the GPU if there is one."""

    def __init__(self, mixed: Any, device: str | None = None) -> None:
        """Move the base model to the device; the default is a GPU if there is one.

        `mixed` is a MixedBackbone (nn/banks.py), which applies the changes of several fine-tuned models within one batch.
        """
        import torch

        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.mixed = mixed.to(self.device).eval()
        self._lock = threading.Lock()
        self.end = 1 << 29
        """A layer number above all layers, so that a batch is split into rows per model only before the embeddings or at the head."""

    def run(
        self, arrays: Mapping[str, NDArray[Any]], states: NDArray[Any] | None, slots: NDArray[Any], banks: Mapping[str, NDArray[Any]]
    ) -> NDArray[Any]:
        """Return the final hidden states of a collated batch, shape (rows, tokens, width).

        `slots` contains, for each row, the index of its model in `banks`, the arrays of all models' trained changes; only the changes
        of models in this batch are copied to the device. `states` is ignored, because these layers begin with the embeddings.
        """
        import torch

        from vertune.nn.banks import gather
        from vertune.nn.run import tensors

        gathered = gather({name: torch.from_numpy(bank) for name, bank in banks.items()}, torch.from_numpy(slots))
        changes = {name: tensor.to(self.device) for name, tensor in gathered.items()}
        with self._lock, torch.no_grad():  # `mixed` stores the changes of one batch at a time, so a second batch must wait
            last = self.mixed(tensors(dict(arrays), self.device), changes)[-1]
        out: NDArray[Any] = last.float().cpu().numpy()
        return out
