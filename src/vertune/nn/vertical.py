"""The torch model that is fine-tuned for a task: a pretrained model (backbone), pooling, and the output layer (head).

Independent of tasks and fine-tuning methods.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from vertune.core.kinds import Encoder, Pooling
from vertune.nn.inputs import names_of


class VerticalModel(nn.Module):
    """A pretrained model (backbone) with pooling and a head (the output layer).

    `native` is a complete transformers model that contains `backbone`. If it is given, its own head is used, and `head`
    is not. Some fine-tuning methods insert positions in front of a text, with hooks on the backbone. The same hooks
    remove these positions before pooling and head.
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
        """The hidden size of the backbone."""
        return int(self.backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]

    def states(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the input of the head for a batch: pooled hidden states of shape (rows, width).

        With the pooling `tokens`, nothing is pooled: the hidden states have the shape (rows, positions, width).
        """
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
        """Return the outputs of the head for a batch: one row per sequence, or one row per token."""
        if self.native is not None:
            logits: Tensor = self.native(**self._take(inputs)).logits
            return logits
        out: Tensor = self.head(self.states(inputs))
        return out

    def _take(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        return {key: value for key, value in inputs.items() if key in self.accepted}


def headless_backbone(encoder: Encoder) -> VerticalModel:
    """Return the encoder's pretrained model without a head; the outputs are the hidden states of all tokens."""
    return VerticalModel(encoder.model(), nn.Identity(), "tokens").eval()
