"""Corrections for many tests at once; independent of what is tested.

Of a hundred tests in which nothing has changed, five have a p below 0.05. The procedure of Benjamini and Hochberg (1995) keeps the
expected share of false discoveries among all discoveries below a level, for independent tests and for tests with positive dependence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def adjusted(p: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each p the least level at which its test is a discovery (Benjamini and Hochberg 1995), shape (tests,)."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    ranks = np.arange(1, len(values) + 1)
    scaled = np.minimum.accumulate((values[order] * len(values) / ranks)[::-1])[::-1]
    result = np.empty(len(values))
    result[order] = np.minimum(scaled, 1.0)
    return result


def discoveries(p: Sequence[float] | NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Return which tests are discoveries, so that at most the share `level` of them is false in expectation; shape (tests,)."""
    return adjusted(p) <= level
