"""The model of a vertical: a backbone, its pooling, a head; knows nothing of tasks, methods or text."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from vertune.core.kinds import Encoder, Pooling
from vertune.nn.inputs import names_of


class VerticalModel(nn.Module):
    """A backbone under a head.

    `native` is a whole model of transformers that contains `backbone`; where it is given, its own head answers.
    Methods that add positions hook the backbone itself, so that they are gone before pooling or any head sees the states.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, pooling: Pooling, native: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.head = head
        self.native = native
        self.accepted = frozenset(inspect.signature((native or backbone).forward).parameters)

    @property
    def width(self) -> int:
        """Size of one state."""
        return int(self.backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]

    def states(self, inputs: dict[str, Tensor]) -> Tensor:
        """Pooled states, shape (rows, width), or all of them, shape (rows, positions, width)."""
        hidden: Tensor = self.backbone(**self._take(inputs)).last_hidden_state
        if self.pooling == "tokens":
            return hidden
        if self.pooling == "cls":
            return hidden[:, 0]
        name = names_of(self.backbone).mask
        if name is None:
            return hidden.mean(1)
        mask = inputs[name].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The head's outputs: one row a sequence, or one a token of it."""
        if self.native is not None:
            logits: Tensor = self.native(**self._take(inputs)).logits
            return logits
        out: Tensor = self.head(self.states(inputs))
        return out

    def _take(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        return {key: value for key, value in inputs.items() if key in self.accepted}


def headless_backbone(encoder: Encoder) -> VerticalModel:
    """A fresh backbone that gives all its states, without a head."""
    return VerticalModel(encoder.model(), nn.Identity(), "tokens").eval()
