"""How scores grow with the number of labels: how many are still needed, what the next ones are worth, and when to stop.

A score after m labels is `a - b·m^-c`: it approaches an asymptote `a`, and what is missing falls as a power of m (Hestness et al. 2017,
Viering and Loog 2022). Three parameters are more than a handful of noisy scores can tell, and the best fit often has an asymptote of 1 or
of the last score. So all curves on a grid are weighted by how well they fit and how usual they are, and estimates are medians over them,
with 95 % intervals. Scores with few labels count less, because with many classes curves are no powers of m there. People set targets that
can be reached, so of two curves that fit equally well, the one that needs fewer labels counts more for `needed`.

The constants were chosen on seven data sets, and `benchmarks/needed.py` measures on others how far estimates are from the truth. Stopping
when predictions do not change is that of Bloodgood and Vijay-Shanker (2009). Independent of models and tasks.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.normal import QUANTILE

LEVEL = 0.95
"""The share of the weight of all curves that an interval contains."""
LEAST_POINTS = 3
"""The least number of different numbers of labels from which a curve is fitted."""
STABLE = 0.99
"""The agreement (kappa) of successive models from which further labels hardly change a prediction."""
_WINDOW = 3
"""Number of successive agreements whose mean must be so high."""
_EXPONENTS = np.exp(np.linspace(math.log(0.05), math.log(2.5), 30))
_USUAL, _GROWTH, _SPREAD = 0.15, 0.35, 0.4
"""The usual exponent of one class, by which power of the number of classes it grows, and the standard deviation of its logarithm."""
_CLASSES = 10
"""Number of classes that is assumed where it is not known, or where there are none."""
_SHARES = (np.arange(30) + 0.5) / 30
"""Of what is missing in the last score, how much further labels can bring; all are equally usual."""
_TRAINING = 0.1
"""Variance of a score because other records could have been labelled, times the number of labels, as a multiple of s·(1 - s)."""
_OWN = 0.25
"""The share of the variance of measuring that differs between scores on the same records."""
_DISTANCE = 2.5
"""By which power of the ratio of numbers of labels the variance of a score grows with its distance from the last one."""
_SOON = 1.5
"""By which power of the number of labels that a curve needs its weight falls, in `needed`."""
_WIDER = 1.8
"""By which factor the logarithm of an interval of `needed` is widened, as curves are not exactly powers; then 95 % contained the truth."""
_WITHIN, _LEAST = 10.0, 0.05
"""A score counts as within reach if so many times as many labels reach it with at least this probability."""
_MOST = 100.0
"""How many times as many labels are so many that no number is named."""
_NORMAL = np.array([-1.8, -0.9, 0.0, 0.9, 1.8])
"""Where the distribution of the last score around its estimate is evaluated, in standard deviations."""
_EDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Point:
    """A score that was measured after a number of labels."""

    labels: int
    score: float
    error: float
    """The standard error of measuring the score."""

    @classmethod
    def of_share(cls, labels: int, score: float, records: int) -> Point:
        """Return the point of a score that is a share of correct records, such as accuracy, measured on so many records."""
        usual = min(max(score, 1 / (records + 2)), 1 - 1 / (records + 2))
        return cls(labels, score, math.sqrt(usual * (1 - usual) / records))

    @classmethod
    def of_interval(cls, labels: int, score: float, low: float, high: float) -> Point:
        """Return the point of any score with its 95 % interval."""
        return cls(labels, score, (high - low) / (2 * QUANTILE))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the score."""
        return self.score - QUANTILE * self.error, self.score + QUANTILE * self.error


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Needed:
    """The number of labels with which a score is reached, with its 95 % interval."""

    score: float
    labels: int
    low: int
    high: int | None
    """None if it may be more than a hundred times as many as there are."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """All curves that may be true, each with its weight; they are functions of the number of labels."""

    labels: int
    """The largest number of labels with a score."""
    limits: tuple[float, float]
    _asymptotes: NDArray[np.float64]
    _gaps: NDArray[np.float64]
    """What is missing to the asymptote after `labels`."""
    _exponents: NDArray[np.float64]
    _weights: NDArray[np.float64]

    def score(self, labels: int) -> Estimate:
        """Return the score after a number of labels."""
        low, high = self.limits
        return Estimate(*(low + (high - low) * one for one in _quantiles(self._at(labels), self._weights)))

    def gain(self, further: int) -> Estimate:
        """Return by how much the next labels raise the score."""
        low, high = self.limits
        raised = self._at(self.labels + further) - self._at(self.labels)
        return Estimate(*((high - low) * one for one in _quantiles(raised, self._weights)))

    def needed(self, score: float) -> Needed | None:
        """Return how many labels reach a score, in total; None if it does not seem within reach with ten times as many labels."""
        low, high = self.limits
        left = self._asymptotes - (score - low) / (high - low)
        with np.errstate(over="ignore"):
            times = np.where(left > 0, (self._gaps / np.maximum(left, 1e-12)) ** (1 / self._exponents), np.inf)
        if self._weights[times <= _WITHIN].sum() < _LEAST:
            return None
        value, *ends = _quantiles(times, self._weights * np.maximum(times, 1.0) ** -_SOON)
        least, most = (value * (end / value) ** _WIDER for end in ends)
        total = [math.ceil(self.labels * one) if one < _MOST else None for one in (value, least, most)]
        return None if total[0] is None else Needed(score, total[0], total[1] or total[0], total[2])

    def _at(self, labels: int) -> NDArray[np.float64]:
        return self._asymptotes - self._gaps * (max(labels, 1) / self.labels) ** -self._exponents


def _quantiles(values: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the weighted median, and the two ends of the interval."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    places = np.searchsorted(below, below[-1] * np.array([0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    middle, low, high = values[order[np.minimum(places, len(values) - 1)]].tolist()
    return middle, low, high


def fit(points: Sequence[Point], limits: tuple[float, float] = (0.0, 1.0), classes: int | None = None) -> LearningCurve | None:
    """Fit a learning curve to scores, of which higher ones are better; None if there are fewer than 3 different numbers of labels.

    `limits` are the score of knowing nothing and that of a perfect model. An error, such as an RMSE, is passed with a minus sign and the
    limits (minus the error of the mean, 0). `classes` is the number of labels that there are: with more of them, curves begin lower and
    rise longer. The result does not depend on the order of the points.
    """
    known = [point for point in points if point.labels > 0 and math.isfinite(point.score)]
    if len({point.labels for point in known}) < LEAST_POINTS:
        return None
    low, high = limits
    labels = np.array([point.labels for point in known], np.float64)
    scores = np.clip((np.array([point.score for point in known]) - low) / (high - low), _EDGE, 1 - _EDGE)
    errors = np.array([point.error for point in known]) / (high - low)
    last = labels.max()
    middle = np.clip(scores, 0.05, 0.95)
    variance = (_TRAINING * middle * (1 - middle) / labels + _OWN * errors**2) * (last / labels) ** _DISTANCE
    curves = _weighted(labels / last, scores, 1 / variance, _USUAL * (classes or _CLASSES) ** _GROWTH)
    return LearningCurve(int(last), limits, *curves)


def _weighted(
    ratios: NDArray[np.float64], scores: NDArray[np.float64], weights: NDArray[np.float64], usual: float
) -> tuple[NDArray[np.float64], ...]:
    """Return the curves on the grid, as asymptotes, gaps and exponents, and their weights.

    `ratios` are the numbers of labels as shares of the last one, and `usual` is the usual exponent. A curve is linear in its score after
    the last label, `level`.
    """
    exponents, shares = np.meshgrid(_EXPONENTS, _SHARES)
    bent = shares[..., None] * (1 - ratios ** -exponents[..., None])
    slope = 1 - bent
    precision = (slope * slope * weights).sum(-1)
    level = np.clip(((scores - bent) * slope * weights).sum(-1) / precision, _EDGE, 1 - _EDGE)
    missed = scores - (level[..., None] * slope + bent)
    unusual = ((np.log(exponents) - math.log(usual)) / _SPREAD) ** 2
    logs = -0.5 * ((missed**2 * weights).sum(-1) + np.log(precision) + unusual)
    levels = np.clip(level[..., None] + _NORMAL / np.sqrt(precision[..., None]), _EDGE, 1 - _EDGE)
    found = np.exp(logs - logs.max())[..., None] * np.exp(-0.5 * _NORMAL**2)
    gaps = shares[..., None] * (1 - levels)
    exponent = np.broadcast_to(exponents[..., None], levels.shape)
    parts = (levels + gaps, gaps, exponent, found / found.sum())
    return tuple(part.ravel() for part in parts)


@dataclass(frozen=True, slots=True)
class Stability:
    """How much the predictions of two successive models for the same records differ."""

    changed: float
    """The share of the records whose predictions differ."""
    kappa: float
    """The agreement of the predictions beyond chance (Cohen); 1 if all are the same."""


def stability(earlier: Sequence[Hashable], later: Sequence[Hashable]) -> Stability:
    """Compare the predictions of two models for the same records; raise ValueError if there are none."""
    if not earlier:
        raise ValueError("There are 0 predictions to compare, but at least one is needed. Pass those of two models for the same records.")
    pairs = list(zip(earlier, later, strict=True))
    same = sum(one == other for one, other in pairs) / len(pairs)
    shares: list[dict[Any, float]] = []
    for side in (earlier, later):
        counts: dict[Any, float] = {}
        for label in side:
            counts[label] = counts.get(label, 0.0) + 1 / len(pairs)
        shares.append(counts)
    chance = sum(share * shares[1].get(label, 0.0) for label, share in shares[0].items())
    return Stability(1 - same, 1.0 if same == 1 else (same - chance) / (1 - chance))


def is_stable(kappas: Sequence[float]) -> bool:
    """Return whether predictions no longer change, so that labelling can stop: the mean of the last three agreements is at least 0.99.

    `kappas` are those of `stability` after each batch of labels, in order, on records that are not labelled.
    """
    return len(kappas) >= _WINDOW and math.fsum(kappas[-_WINDOW:]) / _WINDOW >= STABLE
