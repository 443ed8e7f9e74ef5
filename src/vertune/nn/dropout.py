"""Dropout that draws four elements from one random number; on a CPU torch draws one each, a tenth of a training step.

Knows nothing of models but their modules. The share of zeros is exact to 2^-16, and follows torch's seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 2**16


class _Dropped(torch.autograd.Function):
    """The input times a mask of 0 and 1 / (1 - p)."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, p: float) -> Tensor:
        count = states.numel()
        numbers = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = numbers.view(torch.int16)[:count].view(states.shape) >= round(p * _LEVELS) - _LEVELS // 2
        mask = kept.to(states.dtype).mul_(1 / (1 - p))
        ctx.save_for_backward(mask)
        return states * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None


class Dropout(nn.Dropout):
    """nn.Dropout, quicker on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Zero a share p of the elements in training and scale up the others."""
        if not self.training or not 0 < self.p < 1 or input.device.type != "cpu":
            return super().forward(input)
        dropped: Tensor = _Dropped.apply(input, self.p)  # type: ignore[no-untyped-call]
        return dropped


def quicken(model: nn.Module) -> None:
    """Put it in the place of every plain nn.Dropout."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                quick = Dropout(child.p)
                quick.training = child.training
                setattr(module, name, quick)
