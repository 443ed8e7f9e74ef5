"""Calibration: compares predicted probabilities with observed accuracy; independent of labels and models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reliability(confidence: Sequence[float] | NDArray[Any], correct: Sequence[float] | NDArray[Any], bins: int = 10) -> dict[str, Any]:
    """Return the expected calibration error (ECE) and the data of a reliability diagram.

    `confidence` is the probability of each prediction, in [0, 1]; `correct` is 1 for a right prediction, else 0. Both
    have the shape (predictions,). The predictions are grouped by probability into `bins` bins of equal width, which
    include their upper bounds, as in Guo et al. (2017). Returns `{"ece": float, "bins": [{"low", "high", "confidence",
    "accuracy", "count"}, …]}` without empty bins. If there are no predictions, `ece` is 0.
    """
    confidences = np.asarray(confidence, np.float64)
    correctness = np.asarray(correct, np.float64)
    bin_of = np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    confidence_sums = np.bincount(bin_of, confidences, minlength=bins)
    correct_sums = np.bincount(bin_of, correctness, minlength=bins)
    rows = [
        {
            "low": number / bins,
            "high": (number + 1) / bins,
            "confidence": float(confidence_sums[number] / counts[number]),
            "accuracy": float(correct_sums[number] / counts[number]),
            "count": int(counts[number]),
        }
        for number in np.flatnonzero(counts).tolist()
    ]
    error = float(np.abs(confidence_sums - correct_sums).sum() / len(confidences)) if len(confidences) else 0.0
    return {"ece": error, "bins": rows}
