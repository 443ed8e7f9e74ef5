"""Decodes regression: converts one standardised output per model input to a number on the scale of the training scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.decoders import windows

if TYPE_CHECKING:
    from vertune.core.records import Answer, Feature, Record


def decode(
    records: Sequence[Record],
    features: Sequence[Feature],
    outputs: Sequence[NDArray[Any]],
    mean: float,
    deviation: float,
    bounds: Sequence[float] | None,
) -> list[Answer]:
    """Return the predicted number of each record: the model's output times `deviation` plus `mean`.

    The number is clipped to `bounds` if they are given. If a long text was divided into windows (overlapping pieces),
    the outputs for its windows are averaged; each window is weighted by its number of tokens.
    """
    merged = windows.merge(len(records), features, windows.stacked(outputs, 1))[:, 0] * deviation + mean
    return answers(merged, bounds, windows.truncated(len(records), features))


def answers(values: NDArray[np.float64], bounds: Sequence[float] | None, truncated: Sequence[bool] = ()) -> list[Answer]:
    """Clip predicted numbers to `bounds`, if given, and return one answer per number.

    `truncated` contains, for each number, whether the input of its record was truncated; if it is empty, no input was.
    """
    clipped = np.clip(values, bounds[0], bounds[1]) if bounds else values
    flags = truncated or [False] * len(values)
    return [{"score": value, "truncated": flag} for value, flag in zip(clipped.tolist(), flags, strict=True)]
