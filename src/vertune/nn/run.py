"""Runs a model over many features (encoded inputs) in batches of similar length; independent of tasks and training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray

from vertune.batching import batches
from vertune.core.kinds import Encoder
from vertune.core.records import Feature
from vertune.nn.vertical import VerticalModel

Around = Callable[[Sequence[int]], AbstractContextManager[None]]
"""A function from the indices of a batch's features (encoded inputs) to a context manager for its forward pass, such as autocast."""


def tensors(arrays: dict[str, NDArray[Any]], device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Convert the arrays of a batch to tensors on the device."""
    return {key: torch.from_numpy(value).to(device) for key, value in arrays.items()}


@torch.no_grad()
def outputs(
    model: VerticalModel,
    encoder: Encoder,
    features: Sequence[Feature],
    tokens: int = 2048,
    states: bool = False,
    around: Around | None = None,
) -> list[NDArray[Any]]:
    """Run the model on features (encoded inputs); return one float32 array per feature, in order.

    The arrays are the model's outputs or, with `states`, the inputs of its head. If there is one output per token, the
    outputs of padding are removed. `tokens` limits the total cost of a batch; for texts, the cost is the number of
    tokens. `around` returns a context manager for the forward pass of a batch, from the indices of the batch's
    features.
    """

    def forward(rows: Sequence[int], arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
        inputs = tensors(arrays, next(model.parameters()).device)
        with around(rows) if around else nullcontext():
            out: NDArray[Any] = (model.states(inputs) if states else model(inputs)).float().cpu().numpy()
        return out

    training = model.training
    model.eval()
    try:
        return batches.outputs(encoder, features, tokens, forward)
    finally:
        model.train(training)
