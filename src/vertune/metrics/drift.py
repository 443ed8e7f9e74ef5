"""Tests of whether two samples come from one distribution: of labels, of numbers, of shares, of vectors; independent of what they are.

Each returns a size of the difference that people can read, and the probability of at least such a difference if there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.distributions import chi_square_tail, kolmogorov_tail, pearson_tail, two_sided
from vertune.metrics.normal import QUANTILE

_EXPECTED = 5.0
"""Least expected count of a category in the smaller sample, below which a chi-square statistic has no chi-square distribution."""
_ROUNDS = 200
"""Number of permutations or bootstrap samples; tails are extrapolated (`pearson_tail`)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much two samples differ."""

    size: float
    p: float
    """The probability of a difference at least as large if both samples come from one distribution."""


# ── Shares ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def share_interval(hits: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, QUANTILE**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = QUANTILE / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def fisher(hits: tuple[int, int], counts: tuple[int, int]) -> float:
    """Return the probability, if two shares are equal, of tables that are at most as likely as this one (Fisher's exact test).

    `hits` and `counts` are those of the first and of the second sample.
    """
    drawn, total = sum(hits), sum(counts)
    low, high = max(0, drawn - counts[1]), min(drawn, counts[0])
    if low == high:
        return 1.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    one = np.arange(low, high + 1)
    other = drawn - one
    ways = -(logs[one] + logs[counts[0] - one] + logs[other] + logs[counts[1] - other])
    likely = np.exp(ways - ways.max())
    limit = likely[hits[0] - low] * (1 + 1e-7)  # tables that are equally likely differ in rounding
    return float(min(1.0, likely[likely <= limit].sum() / likely.sum()))


def binomial_tail(hits: int, count: int, share: float) -> float:
    """Return the probability of at least `hits` of `count`, each with the probability `share`."""
    if hits <= 0:
        return 1.0
    if share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    ways = np.arange(hits, count + 1)
    terms = logs[count] - logs[ways] - logs[count - ways] + ways * math.log(share) + (count - ways) * math.log1p(-share)
    return float(min(1.0, np.exp(terms).sum()))


# ── Categories ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def merge_rare(reference: NDArray[np.float64], window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the counts of both samples, shape (2, categories), where categories that are too rare for chi-square are one."""
    table = np.stack([reference, window]).astype(np.float64)
    table = table[:, table.sum(0) > 0]
    share = table.sum(1).min() / max(1.0, table.sum())
    rare = table.sum(0) * share < _EXPECTED
    if rare.sum() < 2:
        return table
    rest = table[:, rare].sum(1, keepdims=True)
    return np.concatenate([table[:, ~rare], rest], axis=1)


def chi_square(reference: NDArray[np.float64], window: NDArray[np.float64]) -> Difference:
    """Return the chi-square statistic of two lists of counts, one count for each category, and its p (Pearson 1900)."""
    table = merge_rare(reference, window)
    if table.shape[1] < 2 or (table.sum(1) == 0).any():
        return Difference(0.0, 1.0)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    value = float(((table - expected) ** 2 / expected).sum())
    return Difference(value, chi_square_tail(value, table.shape[1] - 1))


def stability_index(reference: NDArray[np.float64], window: NDArray[np.float64]) -> float:
    """Return the population stability index (PSI) of two lists of counts; half a count is added to each, so that it is finite.

    Above 0.1, it is usually called a moderate shift, above 0.25 a large one. Even without a shift, its mean is about
    (categories - 1) · (1 / counts of one + 1 / counts of the other), as it is nearly a chi-square statistic (Yurdakul 2018).
    """
    one, other = ((counts + 0.5) / (counts + 0.5).sum() for counts in (reference, window))
    return float(((other - one) * np.log(other / one)).sum())


def expected_index(reference: NDArray[np.float64], window: NDArray[np.float64], seed: int = 0) -> float:
    """Return the mean PSI of two samples of these sizes from one distribution, that of both together, by drawing them `_ROUNDS` times."""
    pooled = (reference + window) / max(1.0, float((reference + window).sum()))
    random = np.random.default_rng(seed)
    one, other = (random.multinomial(int(counts.sum()), pooled, _ROUNDS) + 0.5 for counts in (reference, window))
    one, other = one / one.sum(1, keepdims=True), other / other.sum(1, keepdims=True)
    return float(((other - one) * np.log(other / one)).sum(1).mean())


def index_interval(reference: NDArray[np.float64], window: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the PSI less what chance makes of it; both ends are 0 or more."""
    random = np.random.default_rng(seed)
    one, other = (random.multinomial(int(counts.sum()), counts / counts.sum(), _ROUNDS) + 0.5 for counts in (reference, window))
    one, other = one / one.sum(1, keepdims=True), other / other.sum(1, keepdims=True)
    drawn = ((other - one) * np.log(other / one)).sum(1)
    # drawing adds as much as chance did before, so it is taken off twice
    low, high = np.quantile(drawn, [0.025, 0.975]) - 2 * expected_index(reference, window, seed)
    return max(0.0, float(low)), max(0.0, float(high))


# ── Numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def kolmogorov_smirnov(reference: NDArray[np.float64], window: NDArray[np.float64]) -> Difference:
    """Return the largest distance between two empirical distribution functions, and its asymptotic p (Smirnov 1939).

    The p has the correction of Stephens (1970) for small samples. Where values are equal to each other, it is too large.
    """
    if not len(reference) or not len(window):
        return Difference(0.0, 1.0)
    one, other = np.sort(reference), np.sort(window)
    both = np.concatenate([one, other])
    shares = [np.searchsorted(values, both, side="right") / len(values) for values in (one, other)]
    size = float(np.abs(shares[0] - shares[1]).max())
    root = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    return Difference(size, kolmogorov_tail((root + 0.12 + 0.11 / root) * size))


def mean_difference(reference: NDArray[np.float64], window: NDArray[np.float64]) -> tuple[Difference, float]:
    """Return the difference of two means, window less reference, with its p (Welch 1947, for large samples), and its standard error."""
    variance = sum(float(values.var(ddof=1)) / len(values) if len(values) > 1 else math.inf for values in (reference, window))
    size = float(window.mean() - reference.mean())
    if variance == 0:
        return Difference(size, 1.0 if size == 0 else 0.0), 0.0
    return Difference(size, two_sided(size / math.sqrt(variance))), math.sqrt(variance)


# ── Scores of a classifier that tells two samples apart ──────────────────────────────────────────────────────────────────


def midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value, from 1; equal values have the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends + (ends - counts) + 1) / 2)[places]


def area_under_curve(reference: NDArray[np.float64], window: NDArray[np.float64]) -> float:
    """Return the probability that a score of the window is higher than one of the reference (ROC-AUC); equal scores count half."""
    ranks = midranks(np.concatenate([reference, window]))[len(reference) :]
    return float((ranks.sum() - len(window) * (len(window) + 1) / 2) / (len(reference) * len(window)))


def area_interval(reference: NDArray[np.float64], window: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the area under the ROC curve (percentiles, `_ROUNDS` rounds)."""
    random = np.random.default_rng(seed)
    ranked = midranks(np.concatenate([reference, window]))
    one, other = np.sort(ranked[: len(reference)]), ranked[len(reference) :]
    # how often each reference score is lower than a score of the window does not depend on the draws of the window
    below = (np.searchsorted(one, other, "left") + np.searchsorted(one, other, "right")) / 2 / len(one)
    above = 1 - (np.searchsorted(np.sort(other), one, "left") + np.searchsorted(np.sort(other), one, "right")) / 2 / len(other)
    mean = float(below.mean())
    draws = random.integers(0, len(other), (_ROUNDS, len(other))), random.integers(0, len(one), (_ROUNDS, len(one)))
    areas = below[draws[0]].mean(1) + above[draws[1]].mean(1) - mean  # both projections of the U statistic (Hoeffding 1948)
    low, high = np.quantile(areas, [0.025, 0.975])
    return float(max(0.0, low)), float(min(1.0, high))


# ── Vectors ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def mean_discrepancy(reference: NDArray[Any], window: NDArray[Any], seed: int = 0) -> Difference:
    """Return the squared maximum mean discrepancy (MMD) of two samples of vectors, and its p by permutations (Gretton et al. 2012).

    The kernel is Gaussian; its width is the median distance of the vectors. The size is the unbiased estimate, which can be negative.
    """
    both = np.concatenate([reference, window]).astype(np.float32)
    squares = (both * both).sum(1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * both @ both.T, 0)
    width = float(np.median(distances[np.triu_indices(min(len(both), 500), 1)])) or 1.0
    kernel = np.exp(-distances / width)
    np.fill_diagonal(kernel, 0)
    one, other = len(reference), len(window)
    random = np.random.default_rng(seed)
    members = np.zeros((_ROUNDS + 1, one + other), np.float32)
    members[0, one:] = 1
    for row in members[1:]:
        row[random.permutation(one + other)[:other]] = 1
    inside = members @ kernel
    of_window = (inside * members).sum(1, dtype=np.float64)
    total = float(kernel.sum(dtype=np.float64))
    between = inside.sum(1, dtype=np.float64) - of_window
    of_reference = total - of_window - 2 * between
    sizes = of_window / (other * (other - 1)) + of_reference / (one * (one - 1)) - 2 * between / (one * other)
    return Difference(float(sizes[0]), pearson_tail(float(sizes[0]), sizes[1:]))


def linear_separation(vectors: NDArray[Any], is_window: NDArray[np.bool_], penalty: float, seed: int = 0) -> Difference:
    """Return how much a ridge regression on the vectors explains of which sample a row is from, and its p by permutations.

    The size is the share of the variance, less its mean over permutations. This is the test of Hotelling with a penalty, which works with
    more columns than rows (Chen et al. 2011); the permutations make it exact, although the regression has seen all rows.
    """
    centred = (vectors - vectors.mean(0)).astype(np.float32)
    member = (is_window - is_window.mean()).astype(np.float32)
    random = np.random.default_rng(seed)
    members = np.stack([member, *(random.permutation(member) for _ in range(_ROUNDS))], axis=1)
    spread = centred.T @ centred
    spread[np.diag_indices_from(spread)] += penalty
    sums = centred.T @ members
    explained = (sums * np.linalg.solve(spread, sums)).sum(0, dtype=np.float64) / max(float((member**2).sum()), 1e-12)
    return Difference(float(explained[0] - explained[1:].mean()), pearson_tail(float(explained[0]), explained[1:]))
