"""The torch model of a vertical (a base fine-tuned for one task): backbone, pooling and head; independent of tasks and methods."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from vertune.core.kinds import Encoder, Pooling
from vertune.nn.inputs import names_of


class VerticalModel(nn.Module):
    """A backbone with pooling and a head.

    `native` is a complete transformers model that contains `backbone`; if it is given, its own head is used instead of `head`.
    Methods that add positions put hooks on the backbone, so that the positions are removed before pooling and the head.
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
        """The size of one state vector."""
        return int(self.backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]

    def states(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return pooled states of shape (rows, width); with pooling `tokens`, all states of shape (rows, positions, width)."""
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
        """Return the head's outputs: one row per sequence, or one per token."""
        if self.native is not None:
            logits: Tensor = self.native(**self._take(inputs)).logits
            return logits
        out: Tensor = self.head(self.states(inputs))
        return out

    def _take(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        return {key: value for key, value in inputs.items() if key in self.accepted}


def headless_backbone(encoder: Encoder) -> VerticalModel:
    """Return a new model that has no head and outputs the states of all tokens."""
    return VerticalModel(encoder.model(), nn.Identity(), "tokens").eval()
