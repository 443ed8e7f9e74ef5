"""Regression metrics; independent of records.

Every metric except Spearman's correlation is a function of terms that are summed over rows, so a bootstrap can resample the terms
instead of the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.classification import ratio

COLUMNS = 8
"""Number of terms per row that `tally` returns."""


def tally(truth: NDArray[np.float64], guess: NDArray[np.float64], centre: float = 0.0) -> NDArray[np.float64]:
    """Return the terms of each row whose sums `summarise` needs: 1, x, y, x², y², xy, absolute and squared error; shape (rows, 8).

    x is the true and y the predicted value, both minus `centre`. `centre` should be near the mean of the values, so that squares of
    large values lose no digits.
    """
    x, y = truth - centre, guess - centre
    error = y - x
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(error), error * error], axis=1)


def summarise(total: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return Pearson's correlation, RMSE, MAE and R2.

    `total`, of shape (..., 8), is the sum of rows that `tally` returns. The correlation is 0 if the true or the predicted values
    are constant; R2 is 0 if the true values are constant.
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
    """Return the sum of squared deviations from the mean; 0 if it is within rounding error of 0.

    It is computed from the number of values (`n`), their sum (`first`) and the sum of their squares (`second`).
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
    """Return Spearman's rank correlation; 0 if the true or the predicted values are constant.

    It can't be computed from terms that are summed over rows, because a rank depends on all rows.
    """
    centre = (len(truth) + 1) / 2
    return float(summarise(tally(ranks(truth), ranks(guess), centre).sum(0))["pearson"])
