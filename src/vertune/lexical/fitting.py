"""Fits the model of the words with scikit-learn; only training imports this module.

Each class or label gets a logistic regression of its own, a number a ridge regression, on TF-IDF vectors of words and characters.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.lexical.companion import WordModel
from vertune.lexical.grams import Grams, read
from vertune.lexical.scorer import Scorer
from vertune.lexical.vectors import Vectors, Vocabulary

if TYPE_CHECKING:
    from scipy import sparse

    from vertune.core.records import Activation

ROWS = 30_000
"""Largest number of rows on which the model is fitted; of more, a random sample is taken."""
CHARACTERS, _CHARACTERS_TIMES_OUTPUTS = 4_000_000, 200_000_000
"""Largest number of characters in these rows, and of characters times outputs; if there are more, a random sample of rows is taken."""
FEATURES = 100_000
"""Largest number of columns of the vectors."""
_WEIGHTS = 20_000_000
"""Largest number of columns times outputs while the model is fitted, which limits the memory."""
BYTES = 4_900_000
"""Largest size of the stored arrays; the weights with the least influence are dropped."""
_WORDS = 0.4
"""Share of the columns for words, if there are more n-grams than columns."""
_WEIGHTS_PER_COLUMN, _SHARE = 24, 4
"""Of the weights of a column of the vectors, 24 on average are kept, or a quarter if that is more: the others hardly change scores."""
_RARE = 500
"""Number of texts above which an n-gram must occur in two of them."""
_INVERSE_REGULARISATION, _PENALTY = 10.0, 3.0


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """The texts of records, and what is to be predicted."""

    fields: tuple[str, ...]
    """The names of the one or two fields with texts."""
    texts: Sequence[Sequence[str]]
    """For each field, the text of each record."""
    truth: NDArray[Any]
    """The class index of each record; true for each label of a record, shape (records, labels); or the number of each record."""
    weights: NDArray[Any] | None = None
    """The weight of each record; None gives all the same."""


def fit(data: LabelledTexts, activation: Activation, size: int) -> WordModel:
    """Fit a model with `size` outputs; it is the same for the same data, and takes at most about 5 MB when it is stored."""
    rows = _sample(data.texts, size)
    texts = [[side[row] for row in rows] for side in data.texts]
    most = min(FEATURES, max(1_000, _WEIGHTS // max(1, size)))
    vocabulary = fit_vocabulary([text for side in texts for text in side], most if len(texts) == 1 else most // 4)
    matrix = to_matrix(vocabulary.vectors(texts), len(rows), vocabulary.columns(len(texts)))
    weights = None if data.weights is None else np.asarray(data.weights, np.float64)[rows]
    coefficients, intercepts = fit_linear(matrix, data.truth[rows], (activation, size), weights)
    influence = np.sqrt(np.asarray(matrix.power(2).mean(axis=0), np.float32)).ravel()
    room = BYTES - 13 * len(vocabulary) - 4 * matrix.shape[1] - 8 * size
    most = min(max(0, room) // (1 + _index_type(size).itemsize), matrix.shape[1] * max(_WEIGHTS_PER_COLUMN, size // _SHARE))
    kept = _most_influential(coefficients, influence, most)
    return WordModel(data.fields, vocabulary, quantised(kept, intercepts))


def fit_vocabulary(texts: Sequence[str], most: int) -> Vocabulary:
    """Return the n-grams that occur in the most of these texts: at most `most` of them."""
    words, characters = read(texts)
    known = [_frequent(grams, len(texts)) for grams in (words, characters)]
    room = max(int(most * _WORDS), most - len(known[1][0]))
    chosen = [_top(*known[0], room)]
    chosen.append(_top(*known[1], most - len(chosen[0][0])))
    hashes, counts = (np.concatenate(arrays) for arrays in zip(*chosen, strict=True))
    kinds = np.repeat(np.array([1, 0], np.uint8), [len(found) for found, _ in chosen])
    order = np.argsort(hashes)
    rarity = np.log((1 + len(texts)) / (1 + counts)) + 1
    return Vocabulary(hashes[order], kinds[order], rarity.astype(np.float32)[order])


def _frequent(grams: Grams, count: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the sorted n-grams, and the number of texts in which each occurs; of many texts, only n-grams in two of them."""
    order = np.lexsort((grams.texts, grams.hashes))
    hashes, texts = grams.hashes[order], grams.texts[order]
    new = np.ones(len(hashes), np.bool_)
    new[1:] = (hashes[1:] != hashes[:-1]) | (texts[1:] != texts[:-1])
    found, frequency = np.unique(hashes[new], return_counts=True)
    enough = frequency >= (2 if count > _RARE else 1)
    return found[enough], frequency[enough]


def _top(hashes: NDArray[np.uint64], frequency: NDArray[np.int64], most: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the most frequent n-grams, in the order of their hashes."""
    best = np.sort(np.argsort(-frequency, kind="stable")[:most])
    return hashes[best], frequency[best]


def to_matrix(vectors: Vectors, rows: int, columns: int) -> sparse.csr_matrix:
    """Return the vectors as a matrix for scikit-learn."""
    from scipy import sparse

    return sparse.csr_matrix((vectors.values, (vectors.rows, vectors.columns)), (rows, columns))


def fit_linear(
    matrix: sparse.csr_matrix, truth: NDArray[Any], kind: tuple[Activation, int], weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the coefficients, shape (outputs, columns), and the intercepts; `kind` is the activation and the number of outputs."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    activation, size = kind
    coefficients, intercepts = np.zeros((size, matrix.shape[1]), np.float32), np.zeros(size, np.float32)
    if activation == "identity":
        ridge = Ridge(alpha=_PENALTY, solver="sparse_cg", tol=1e-3).fit(matrix, truth.ravel(), sample_weight=weights)
        coefficients[0], intercepts[0] = ridge.coef_, ridge.intercept_
        return coefficients, intercepts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # more iterations would hardly change the scores
        for place in range(size):
            present = truth == place if activation == "softmax" else truth[:, place].astype(np.bool_)
            if present.all() or not present.any():
                share = (present.sum() + 0.5) / (len(present) + 1)
                intercepts[place] = np.log(share / (1 - share))
                continue
            one = LogisticRegression(C=_INVERSE_REGULARISATION, solver="liblinear", dual=True, tol=0.1, random_state=0)
            one.fit(matrix, present, sample_weight=weights)
            coefficients[place], intercepts[place] = one.coef_[0], one.intercept_[0]
    return coefficients, intercepts


def quantised(coefficients: NDArray[np.float32], intercepts: NDArray[np.float32]) -> Scorer:
    """Return the coefficients, shape (outputs, columns), as whole numbers from -127 to 127 with a scale per output."""
    scales = np.maximum(np.abs(coefficients).max(axis=1, initial=0), 1e-12).astype(np.float32) / 127
    return sparse_scorer(np.rint(coefficients / scales[:, None]).astype(np.int8), scales, intercepts)


def sparse_scorer(weights: NDArray[Any], scales: NDArray[np.float32], intercepts: NDArray[np.float32]) -> Scorer:
    """Return the weights, shape (outputs, columns), without those that are 0."""
    columns, outputs = np.nonzero(weights.T)
    starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=weights.shape[1]))])
    return Scorer(starts, outputs.astype(_index_type(len(scales))), weights[outputs, columns], scales, intercepts)


def _most_influential(coefficients: NDArray[np.float32], influence: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Return the coefficients, with 0 for all but the `most` ones that change scores the most.

    `influence` is the root mean square of each column of the vectors.
    """
    if np.count_nonzero(coefficients) <= most:
        return coefficients
    effect = np.abs(coefficients) * influence
    limit = np.partition(effect, effect.size - most, axis=None)[effect.size - most] if most else np.inf
    return np.where(effect > limit, coefficients, np.float32(0))


def _index_type(size: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if size <= 256 else np.uint16)


def _sample(texts: Sequence[Sequence[str]], size: int) -> NDArray[np.int64]:
    """Return the indices of the rows on which the model is fitted: all, or a random sample that is the same in every call."""
    lengths = np.array([[len(text) for text in side] for side in texts], np.int64).sum(axis=0)
    order = np.random.default_rng(0).permutation(len(lengths))
    limit = min(CHARACTERS, _CHARACTERS_TIMES_OUTPUTS // max(1, size))
    fitting = int(np.searchsorted(np.cumsum(lengths[order]), limit, side="right"))
    if len(order) <= ROWS and fitting >= len(order):
        return np.arange(len(order))
    return np.sort(order[: max(1, min(ROWS, fitting))])
