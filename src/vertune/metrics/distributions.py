"""Tails of the distributions that tests of drift need, with NumPy and the standard library alone; independent of what is tested."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_TERMS = 500
"""Largest number of terms of a series or a continued fraction; what converges later is exact enough by then."""
_EPSILON = 1e-15
_TINY = 1e-300


def normal_tail(z: float) -> float:
    """Return the probability that a standard normal variable is greater than `z`."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def two_sided(z: float) -> float:
    """Return the probability that a standard normal variable is further from 0 than `z`."""
    return math.erfc(abs(z) / math.sqrt(2))


def gamma_tail(shape: float, x: float) -> float:
    """Return the probability that a gamma variable with this shape and the scale 1 is greater than `x`.

    By its series below `shape + 1`, and by the continued fraction of Lentz above (Press et al. 2007, section 6.2).
    """
    if x <= 0:
        return 1.0
    front = math.exp(-x + shape * math.log(x) - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        for number in range(1, _TERMS):
            term *= x / (shape + number)
            total += term
            if term < total * _EPSILON:
                break
        return max(0.0, 1 - front * total)
    b = x + 1 - shape
    c, d = 1 / _TINY, 1 / b
    fraction = d
    for number in range(1, _TERMS):
        a = -number * (number - shape)
        b += 2
        d = 1 / (a * d + b or _TINY)
        c = b + a / c or _TINY
        fraction *= d * c
        if abs(d * c - 1) < _EPSILON:
            break
    return min(1.0, front * fraction)


def chi_square_tail(value: float, freedom: int) -> float:
    """Return the probability that a chi-square variable with these degrees of freedom is greater than `value`."""
    return 1.0 if freedom < 1 else gamma_tail(freedom / 2, value / 2)


def kolmogorov_tail(x: float) -> float:
    """Return the probability that the supremum of a Brownian bridge is further from 0 than `x` (Kolmogorov 1933)."""
    if x < 0.2:
        return 1.0
    total = sum((1.0 if number % 2 else -1.0) * math.exp(-2 * (number * x) ** 2) for number in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def pearson_tail(value: float, sample: NDArray[np.float64]) -> float:
    """Return the probability that a statistic exceeds `value`, from a sample of its distribution; smaller ones than 1 / sample, too.

    The tail is that of a gamma distribution with the mean, variance and skewness of the sample (Pearson type III), as is usual for
    permutations of a few hundred rounds (Josse, Pagès and Husson 2008); a skewness that is 0 or less gives the normal distribution.
    """
    mean, spread = float(sample.mean()), float(sample.std())
    if spread == 0:
        return 1.0 if value <= mean else 0.0
    z, skew = (value - mean) / spread, float((((sample - mean) / spread) ** 3).mean())
    if skew < 1e-3:
        return normal_tail(z)
    shape = 4 / skew**2
    return gamma_tail(shape, shape + z * math.sqrt(shape))
