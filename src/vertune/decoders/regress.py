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
    """Return the predicted number of each record, clipped to `bounds`: the output times `deviation` plus `mean`.

    If a long text was divided into windows (overlapping pieces), their outputs are averaged, weighted by their numbers of tokens.
    """
    each = np.array(outputs, np.float64) if len(outputs) else np.empty((0, 1))
    merged = windows.merge(len(records), features, each)[:, 0] * deviation + mean
    return answers(merged, bounds, windows.truncated(len(records), features))


def answers(values: NDArray[np.float64], bounds: Sequence[float] | None, truncated: Sequence[bool] = ()) -> list[Answer]:
    """Clip the numbers to `bounds`, if given, and return one answer per number; `truncated` is a flag per number, by default False."""
    clipped = np.clip(values, bounds[0], bounds[1]) if bounds else values
    flags = truncated or [False] * len(values)
    return [{"score": value, "truncated": flag} for value, flag in zip(clipped.tolist(), flags, strict=True)]
