"""Metrics for regression; independent of records.

Every metric except Spearman's correlation is computed from sums of terms over the rows. A bootstrap can therefore
resample the rows of terms, without the predictions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.classification import ratio

COLUMNS = 8
"""Number of terms per row that `tally` returns."""


def tally(truth: NDArray[np.float64], guess: NDArray[np.float64], centre: float = 0.0) -> NDArray[np.float64]:
    """Return the terms of each row from whose sums `summarise` computes metrics, shape (rows, 8).

    They are 1, x, y, x², y², xy, the absolute error and the squared error, where x is the true and y the predicted
    value, both minus `centre`. `centre` should be near the mean of the values, so that no digits are lost when large
    values are squared.
    """
    x, y = truth - centre, guess - centre
    error = y - x
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(error), error * error], axis=1)


def summarise(total: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return Pearson's correlation, RMSE, MAE and R2.

    `total`, of shape (..., 8), is a sum of rows of `tally`. The correlation is 0 if the true or the predicted values
    are constant. R2 is 0 if the true values are constant.
    """
    n, x, y, xx, yy, xy, absolute, squared = np.moveaxis(np.asarray(total, np.float64), -1, 0)
    spread_x, spread_y = _spread(n, x, xx), _spread(n, y, yy)
    covariance = xy - ratio(x * y, n)
    return {
        "pearson": np.clip(ratio(covariance, np.sqrt(spread_x * spread_y)), -1, 1),
        "rmse": np.sqrt(ratio(squared, n)),
        "mae": ratio(absolute, n),
        "r2": np.where(spread_x > 0, 1 - ratio(squared, spread_x), 0.0),
    }


def _spread(n: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sum of squared deviations of some values from their mean.

    `n` is the number of values, `first` their sum, `second` the sum of their squares. The result is 0 if it is so small
    that it could be a rounding error.
    """
    spread = second - ratio(first * first, n)
    return np.where(spread > 1e-12 * np.abs(second), spread, 0.0)


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rank of each value, counted from 1; equal values all get the mean of their ranks."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = (last - (counts - 1) / 2)[index]
    return mean


def spearman(truth: NDArray[np.float64], guess: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; it is 0 if the true or the predicted values are constant.

    It can't be computed from sums over rows, because the rank of a value depends on all rows.
    """
    centre = (len(truth) + 1) / 2
    return float(summarise(tally(ranks(truth), ranks(guess), centre).sum(0))["pearson"])
