"""Low-rank changes and scale factors that are applied to linear modules in inference.

Each is added to the linear module as a submodule that a forward hook calls. So the names of the pretrained weights
don't change. Independent of how the changes were trained.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class LowRank(nn.Module):
    """A low-rank change `scaling * b @ a` of a linear module's weight (LoRA, Hu et al. 2021).

    If `magnitude` is given, each row of the changed weight is then scaled to have the norm that `magnitude` contains
    for this row (DoRA, Liu et al. 2024). Shapes: `a` (rank, inputs), `b` (outputs, rank), `magnitude` (outputs,).
    """

    def __init__(self, linear: nn.Linear, a: Tensor, b: Tensor, scaling: float, magnitude: Tensor | None = None) -> None:
        super().__init__()
        self.a = nn.Parameter(a)
        self.b = nn.Parameter(b)
        self.scaling = scaling
        gain = None if magnitude is None else row_gain(linear.weight.detach(), a, b, scaling, magnitude)
        self.register_buffer("gain", gain, persistent=False)

    def forward(self, x: Tensor, out: Tensor, bias: Tensor | None) -> Tensor:
        """Return the changed output of the linear module, given its input `x`, its unchanged output `out` and its bias."""
        change = self.scaling * functional.linear(functional.linear(x, self.a), self.b)
        gain = cast("Tensor | None", self.gain)
        if gain is None:
            return out + change
        return gain * (out + change) if bias is None else gain * (out - bias + change) + bias


class ScaleVector(nn.Module):
    """Factors by which each input or each output of a linear module is multiplied (IA3, Liu et al. 2022)."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input multiplied by the factors."""
        scaled: Tensor = x * self.scale
        return scaled


def row_gain(weight: Tensor, a: Tensor, b: Tensor, scaling: float, magnitude: Tensor) -> Tensor:
    """Return, for each row of a changed weight, the factor that makes the row's norm equal to its `magnitude` (DoRA).

    The changed weight is `weight + scaling * b @ a`. The result has the shape (outputs,).
    """
    norms: Tensor = torch.linalg.vector_norm(weight + scaling * (b @ a), dim=1)
    return magnitude / norms


def attach_low_rank(linear: nn.Linear, change: LowRank) -> None:
    """Register a forward hook that applies the low-rank change to the output of the linear module."""
    linear.add_module("low_rank", change)
    linear.register_forward_hook(_changed)


def attach_scale(linear: nn.Linear, scale: ScaleVector, side: str) -> None:
    """Register a hook that multiplies the inputs or outputs of the linear module by factors.

    If `side` is "input", the inputs are multiplied; otherwise the outputs, including the bias.
    """
    linear.add_module("scaled", scale)
    if side == "input":
        linear.register_forward_pre_hook(_scaled_input)
    else:
        linear.register_forward_hook(_scaled_output)


# A hook reads weights only from the module that it is called for, so that a copied model uses its own weights.


def _changed(linear: Any, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    changed: Tensor = linear.low_rank(args[0], out, linear.bias)
    return changed


def _scaled_input(linear: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (linear.scaled(args[0]), *args[1:])


def _scaled_output(linear: Any, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    scaled: Tensor = linear.scaled(out)
    return scaled
