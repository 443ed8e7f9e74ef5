"""The bottleneck adapter, a small trainable network applied to the output of a linear module (Houlsby et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class Bottleneck(nn.Module):
    """A bottleneck adapter: a projection down to `size` dimensions, an activation, and a projection back up.

    The result is added to the adapter's input. Before training, the second projection returns 0, so the adapter returns
    its input unchanged.
    """

    def __init__(self, width: int, size: int, activation: str = "gelu") -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        self.activation = activation
        nn.init.normal_(self.down.weight, std=width**-0.5)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Return the input plus the output of the two projections, in the same shape."""
        up: Tensor = self.up(ACTIVATIONS[self.activation](self.down(states)))
        return states + up


def attach(linear: nn.Linear, bottleneck: Bottleneck) -> None:
    """Insert a bottleneck adapter after a linear module.

    A forward hook applies the adapter to the output of the module, before a dropout or norm that follows the module.
    """
    linear.add_module("bottleneck", bottleneck)
    linear.register_forward_hook(_adapted)


def _adapted(linear: Any, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    changed: Tensor = linear.bottleneck(out)
    return changed
