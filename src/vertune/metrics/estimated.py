"""Estimates how many answers are right without labels, from confidences that were calibrated where labels are known.

If inputs change but what is right for an input does not (covariate shift), the mean of calibrated confidences is the expected accuracy
(Guillory et al. 2021; confidence-based performance estimation). If the meaning of labels changes, confidences can't know it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.distributions import two_sided
from vertune.metrics.normal import QUANTILE

_EDGE = 1e-6
"""Confidences are kept this far from 0 and 1, where their logarithm of odds would be infinite."""
_PRIOR = 1.0
"""Inverse variance of the prior by which the confidences are taken to be calibrated, with slope 1 and offset 0."""
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often answers with a confidence are right: a logistic curve over the logarithm of the odds (Platt 1999)."""

    slope: float
    offset: float
    covariance: NDArray[np.float64]
    """Of slope and offset, shape (2, 2)."""

    @classmethod
    def fit(cls, confidence: NDArray[np.float64], right: NDArray[np.float64]) -> Calibration:
        """Fit the curve to confidences and whether the answers were right (1 or 0), by Newton's method."""
        inputs = np.stack([_log_odds(confidence), np.ones(len(confidence))], axis=1)
        weights, usual = np.array([1.0, 0.0]), np.array([1.0, 0.0])
        penalty = np.diag([_PRIOR, _PRIOR])
        curvature = penalty
        for _ in range(_STEPS):
            probability = _logistic(inputs @ weights)
            gradient = inputs.T @ (probability - right) + penalty @ (weights - usual)
            curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs + penalty
            step = np.linalg.solve(curvature, gradient)
            weights = weights - step / max(1.0, float(np.abs(step).max()))  # a full step can leave the region where Newton converges
            if np.abs(step).max() < 1e-9:
                break
        return cls(float(weights[0]), float(weights[1]), np.linalg.inv(curvature))

    def of(self, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability that answers with these confidences are right."""
        return _logistic(self.slope * _log_odds(confidence) + self.offset)

    def slopes(self, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how the mean of `of` changes with slope and offset, shape (2,)."""
        odds, probability = _log_odds(confidence), self.of(confidence)
        change = probability * (1 - probability)
        return np.array([(change * odds).mean(), change.mean()])


@dataclass(frozen=True, slots=True)
class Estimate:
    """An accuracy that was estimated without labels, with its 95 % interval."""

    accuracy: float
    low: float
    high: float
    p: float
    """The probability of such a difference from the reference if the confidences come from one distribution."""
    before: float
    """The same estimate for the reference."""


def estimate(calibration: Calibration, reference: NDArray[np.float64], window: NDArray[np.float64]) -> Estimate:
    """Return the expected accuracy of answers with the confidences `window`, compared with that of the reference.

    The interval covers the accuracy of these answers: it counts what chance does to them, and how exactly the curve is known.
    """
    before, now = calibration.of(reference), calibration.of(window)
    value, count = float(now.mean()), len(now)
    slopes = calibration.slopes(window)
    error = math.sqrt(float(slopes @ calibration.covariance @ slopes) + float((now * (1 - now)).sum()) / count**2)
    both = calibration.slopes(window) - calibration.slopes(reference)
    spread = float(now.var()) / count + float(before.var()) / len(before) + float(both @ calibration.covariance @ both)
    difference = value - float(before.mean())
    p = two_sided(difference / math.sqrt(spread)) if spread > 0 else 1.0
    return Estimate(value, max(0.0, value - QUANTILE * error), min(1.0, value + QUANTILE * error), p, float(before.mean()))


def _log_odds(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(confidence, _EDGE, 1 - _EDGE)
    odds: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return odds


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -500, 500)))
    return result
