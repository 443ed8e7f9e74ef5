"""Tells two collections of texts apart by their words, and names the words that tell the most; knows nothing of labels and models.

A classifier that learns which collection a text is from can't do better than chance if both are alike (Rabanser, Günnemann and Lipton
2019). It is a ridge regression on TF-IDF vectors of words and pairs of words, which orders texts as a logistic regression does. How well it
tells texts that it has not seen is the size of a difference. Scores of cross-validated texts depend on each other, so whether a difference
is chance is decided by permutations, with the rare words added up in some columns.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vertune.lexical.grams import LONGEST, WORD
from vertune.metrics.drift import area_interval, area_under_curve, linear_separation

_FOLDS = 5
_PENALTY = 3.0
"""The penalty of the ridge regression; a logistic regression with the usual penalty of 1 has about this one."""
_STEPS = 12
"""Largest number of steps of conjugate gradients; more change no order of texts."""
_COLUMNS, _DENSE_PENALTY = 1024, 10.0
"""Largest number of columns of the permutation test, half of which are for one frequent word each, and its penalty."""
_LEAST_TEXTS = 2
"""Number of texts from which a word is read."""
_WORDS = 12
"""Number of words that are named."""
_TELLING = 3.0
"""Least standard score of the difference of a word's shares for it to be named."""


class Word(NamedTuple):
    """A word with the shares of texts in which it occurs."""

    word: str
    reference: float
    window: float


@dataclass(frozen=True, slots=True)
class Separation:
    """How well two collections of texts can be told apart."""

    area: float
    """The area under the ROC curve; 0.5 if they can't be."""
    low: float
    high: float
    p: float
    """The probability of such a difference if both collections are alike."""
    scores: NDArray[np.float64]
    """The score of each text, the reference first; the higher, the more it looks like one of the window."""
    words: list[Word]
    """The most telling words, the most telling first."""


class _Entries(NamedTuple):
    """Sparse binary vectors of texts: for each entry, its text and its word."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    names: list[str]


def tell_apart(reference: Sequence[str], window: Sequence[str], seed: int = 0) -> Separation:
    """Return how well the texts of a window can be told from those of a reference, each by a classifier that has not seen it."""
    entries = _entries([*reference, *window])
    first = len(reference)
    is_window = np.arange(first + len(window)) >= first
    values = _weighted(entries, len(is_window))
    folds = np.random.default_rng(seed).permutation(len(is_window)) % _FOLDS
    scores = np.zeros(len(is_window))
    areas = []
    for fold in range(_FOLDS):
        inside = folds != fold
        weights = _solved(entries, values, is_window, inside)
        scores += np.where(inside, 0.0, np.bincount(entries.rows, values * weights[entries.columns], len(is_window)))
        one, other = scores[~inside & ~is_window], scores[~inside & is_window]
        areas.append(area_under_curve(one, other) if len(one) and len(other) else 0.5)
    low, high = area_interval(scores[:first], scores[first:], seed)
    area, middle = float(np.mean(areas)), area_under_curve(scores[:first], scores[first:])
    p = linear_separation(_dense(entries, values, len(is_window), seed), is_window, _DENSE_PENALTY, seed).p
    return Separation(area, low + area - middle, high + area - middle, p, scores, words=_telling(entries, is_window))


def words_of(text: str) -> list[str]:
    """Return the words of a text as they are compared: in lower case, each character of Chinese and kana alone."""
    return WORD.findall(unicodedata.normalize("NFKC", text[:LONGEST]).casefold())


def _entries(texts: Sequence[str]) -> _Entries:
    """Return the words and the pairs of successive words of texts, without those of a single text."""
    known: dict[str, int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        words = words_of(text)
        distinct = dict.fromkeys([*words, *map(" ".join, pairwise(words))])  # in order, so that every process finds the same
        rows += [row] * len(distinct)
        columns += [known.setdefault(word, len(known)) for word in distinct]
    all_rows, all_columns = np.array(rows, np.int64), np.array(columns, np.int64)
    frequent = np.bincount(all_columns, minlength=len(known)) >= _LEAST_TEXTS
    kept = frequent[all_columns]
    places = np.cumsum(frequent) - 1
    names = [word for word, often in zip(known, frequent.tolist(), strict=True) if often]
    return _Entries(all_rows[kept], places[all_columns[kept]], names)


def _weighted(entries: _Entries, count: int) -> NDArray[np.float64]:
    """Return the TF-IDF value of each entry; the vector of each text has length 1."""
    texts = np.bincount(entries.columns, minlength=len(entries.names))
    values = np.log((1 + count) / (1 + texts))[entries.columns] + 1
    norms = np.sqrt(np.bincount(entries.rows, values**2, count))
    weighted: NDArray[np.float64] = values / norms[entries.rows]
    return weighted


def _solved(
    entries: _Entries, values: NDArray[np.float64], is_window: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> NDArray[np.float64]:  # fmt: skip
    """Return the weight of each word, learnt from the texts `inside`, by which a text of the window scores higher."""
    count, width = len(inside), len(entries.names)
    used = np.where(inside[entries.rows], values, 0.0)

    def scores(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(entries.rows, used * weights[entries.columns], count).astype(np.float64)

    def spread(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(entries.columns, used * residuals[entries.rows], width).astype(np.float64)

    target = np.where(inside, is_window - is_window[inside].mean(), 0.0)
    weights, rest = np.zeros(width), spread(target)
    direction, size = rest, float(rest @ rest)
    first = size
    for _ in range(_STEPS):
        if size <= 1e-8 * first:
            break
        changed = spread(scores(direction)) + _PENALTY * direction
        step = size / float(direction @ changed)
        weights, rest = weights + step * direction, rest - step * changed
        before, size = size, float(rest @ rest)
        direction = rest + size / before * direction
    return weights


def _dense(entries: _Entries, values: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float32]:
    """Return the vectors of texts with a column for each frequent word; the others share columns, with random signs (feature hashing)."""
    texts = np.bincount(entries.columns, minlength=len(entries.names))
    width = max(2, min(_COLUMNS, count // 2))
    frequent = width // 2
    random, order = np.random.default_rng(seed), np.argsort(-texts, kind="stable")
    places, signs = np.empty(len(texts), np.int64), np.ones(len(texts))
    places[order[:frequent]] = np.arange(min(frequent, len(texts)))
    rare = order[frequent:]
    places[rare] = random.integers(frequent, width, len(rare))
    signs[rare] = random.choice([-1.0, 1.0], len(rare))
    sums = np.bincount(entries.rows * width + places[entries.columns], values * signs[entries.columns], count * width)
    return sums.reshape(count, width).astype(np.float32)


def _telling(entries: _Entries, is_window: NDArray[np.bool_]) -> list[Word]:
    """Return the words whose shares differ the most, in standard errors; of a word and a pair with it that differ alike, the word."""
    sizes = int((~is_window).sum()), int(is_window.sum())
    if not entries.names or 0 in sizes:
        return []
    counts = [np.bincount(entries.columns[side[entries.rows]], minlength=len(entries.names)) for side in (~is_window, is_window)]
    one, other = counts[0] / sizes[0], counts[1] / sizes[1]
    pooled = (counts[0] + counts[1] + 1) / (sum(sizes) + 2)
    z = (other - one) / np.sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
    named: list[Word] = []
    for place in np.argsort(-np.abs(z), kind="stable").tolist():
        if abs(z[place]) < _TELLING or len(named) == _WORDS:
            break
        name = entries.names[place]
        if not any(set(name.split()) & set(word.word.split()) for word in named):
            named.append(Word(name, float(one[place]), float(other[place])))
    return named


def known_words(reference: Sequence[str], window: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of the words of each text that another text of the reference has, for the reference and for the window."""
    counts: dict[str, int] = {}
    before = [set(words_of(text)) for text in reference]
    for words in before:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    own = [sum(counts[word] > 1 for word in words) / max(1, len(words)) for words in before]
    now = [set(words_of(text)) for text in window]
    return np.array(own), np.array([sum(word in counts for word in words) / max(1, len(words)) for words in now])
