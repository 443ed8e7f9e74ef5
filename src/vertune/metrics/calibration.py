"""Whether a probability means what it says; knows nothing of labels or models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reliability(confidence: Sequence[float] | NDArray[Any], correct: Sequence[float] | NDArray[Any], bins: int = 10) -> dict[str, Any]:
    """Expected calibration error and the reliability diagram, over bins of equal width.

    `confidence` is the probability of each answer that was given, in [0, 1]; `correct` is 1 where it was right, else 0;
    both of shape (answers,). Returns `{"ece": float, "bins": [{"low", "high", "confidence", "accuracy", "count"}, …]}`
    with the bins that hold answers; a bin holds its upper end, as in Guo et al. 2017. Without answers `ece` is 0.
    """
    said = np.asarray(confidence, np.float64)
    right = np.asarray(correct, np.float64)
    which = np.clip(np.ceil(said * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    said_sum = np.bincount(which, said, minlength=bins)
    right_sum = np.bincount(which, right, minlength=bins)
    rows = [
        {
            "low": place / bins,
            "high": (place + 1) / bins,
            "confidence": float(said_sum[place] / counts[place]),
            "accuracy": float(right_sum[place] / counts[place]),
            "count": int(counts[place]),
        }
        for place in np.flatnonzero(counts).tolist()
    ]
    error = float(np.abs(said_sum - right_sum).sum() / len(said)) if len(said) else 0.0
    return {"ece": error, "bins": rows}
