"""A trained model in torch: the base, with what training changed; knows nothing of ONNX or of what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from vertune.core.kinds import Encoder, Task
from vertune.core.records import Feature


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
