"""A forward pass over many features in batches of near lengths; knows nothing of tasks or learning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.batching.batches import by_tokens
from vertune.core.kinds import Encoder
from vertune.core.records import Feature
from vertune.nn.vertical import Vertical

Around = Callable[[Sequence[int]], AbstractContextManager[None]]
"""What the forward pass of the batch of these features runs in: a precision, states that are known already."""


def tensors(arrays: dict[str, NDArray[Any]], device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """A collated batch on the device."""
    return {key: torch.from_numpy(value).to(device) for key, value in arrays.items()}


@torch.no_grad()
def outputs(
    model: Vertical, encoder: Encoder, features: Sequence[Feature], tokens: int = 8192, states: bool = False, around: Around | None = None
) -> list[NDArray[Any]]:
    """The model's outputs (or, with `states`, what its head would read), one float32 array a feature, in order.

    Outputs of one row a token are cut to the length of their feature.
    """
    result: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(features)
    training = model.training
    model.eval()
    try:
        for rows, arrays in batches(encoder, features, tokens):
            inputs = tensors(arrays, next(model.parameters()).device)
            with around(rows) if around else nullcontext():
                out = (model.states(inputs) if states else model(inputs)).float().cpu().numpy()
            per_token = out.ndim > 2
            for place, row in enumerate(rows):
                result[row] = out[place, : len(features[row])].copy() if per_token else out[place]
    finally:
        model.train(training)
    return result


def batches(encoder: Encoder, features: Sequence[Feature], tokens: int) -> Iterator[tuple[list[int], dict[str, NDArray[Any]]]]:
    """Indices and collated arrays of each batch, longest first, so that the peak of memory comes at once."""
    costs = np.array([encoder.cost(feature) for feature in features], dtype=np.int64)
    for rows in by_tokens(np.argsort(-costs, kind="stable"), costs, tokens):
        yield rows, encoder.collate([features[row] for row in rows])
