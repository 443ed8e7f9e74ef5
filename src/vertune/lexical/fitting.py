"""Fits the model of the words on TF-IDF vectors of words and characters; only training imports this module.

Each class or label gets a logistic regression of its own, a number a ridge regression; both are those of scikit-learn. The time of the
regressions grows with rows times labels. Where they could be fitted on less than half of the rows, each label gets the centroid of its
vectors instead (Rocchio's method), which takes all rows: on the rows that are left, a regression would know too little of each label.
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
_TOLERANCE = 1.0
"""Tolerance of liblinear. On held-out training rows of Banking77, TREC-6, ChnSentiCorp and SMP2019, accuracy was as high as with 0.1
(differences of -0.2 to 0.2 points) and the log-loss equal to within 0.003, in two thirds of the time."""
_STEEPNESS = 20.0
"""Factor of the cosines to the centroids, with which they are about as far apart as the scores of a regression."""


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
    rows = _sample(data.texts, min(CHARACTERS, _CHARACTERS_TIMES_OUTPUTS // max(1, size)))
    all_rows = _sample(data.texts, CHARACTERS)
    many_labels = activation != "identity" and 2 * len(rows) < len(all_rows)
    rows = all_rows if many_labels else rows
    texts = [[side[row] for row in rows] for side in data.texts]
    most = FEATURES if many_labels else min(FEATURES, max(1_000, _WEIGHTS // max(1, size)))
    vocabulary = fit_vocabulary([text for side in texts for text in side], most if len(texts) == 1 else most // 4)
    matrix = to_matrix(vocabulary.vectors(texts), len(rows), vocabulary.columns(len(texts)))
    weights = None if data.weights is None else np.asarray(data.weights, np.float64)[rows]
    fit_scorer = centroids if many_labels else fit_linear
    coefficients, intercepts = fit_scorer(matrix, data.truth[rows], (activation, size), weights)
    influence = np.sqrt(np.asarray(matrix.power(2).mean(axis=0), np.float32)).ravel()
    room = BYTES - 13 * len(vocabulary) - 4 * matrix.shape[1] - 8 * size
    most = min(max(0, room) // (1 + _index_type(size).itemsize), matrix.shape[1] * max(_WEIGHTS_PER_COLUMN, size // _SHARE))
    kept = most_influential(coefficients, influence, most)
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
) -> tuple[sparse.csr_matrix, NDArray[np.float32]]:
    """Return the coefficients, shape (outputs, columns), and the intercepts; `kind` is the activation and the number of outputs."""
    from scipy import sparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    activation, size = kind
    coefficients, intercepts = np.zeros((size, matrix.shape[1]), np.float32), np.zeros(size, np.float32)
    if activation == "identity":
        ridge = Ridge(alpha=_PENALTY, solver="sparse_cg", tol=1e-3).fit(matrix, truth.ravel(), sample_weight=weights)
        coefficients[0], intercepts[0] = ridge.coef_, ridge.intercept_
        return sparse.csr_matrix(coefficients), intercepts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # more iterations would hardly change the scores
        for place in range(size):
            present = truth == place if activation == "softmax" else truth[:, place].astype(np.bool_)
            if present.all() or not present.any():
                share = (present.sum() + 0.5) / (len(present) + 1)
                intercepts[place] = np.log(share / (1 - share))
                continue
            one = LogisticRegression(C=_INVERSE_REGULARISATION, solver="liblinear", dual=True, tol=_TOLERANCE, random_state=0)
            one.fit(matrix, present, sample_weight=weights)
            coefficients[place], intercepts[place] = one.coef_[0], one.intercept_[0]
    return sparse.csr_matrix(coefficients), intercepts


def centroids(
    matrix: sparse.csr_matrix, truth: NDArray[Any], kind: tuple[Activation, int], weights: NDArray[np.float64] | None
) -> tuple[sparse.csr_matrix, NDArray[np.float32]]:
    """Return coefficients and intercepts as `fit_linear` does, with which the score of a label is the cosine to its mean vector.

    If a record may have several labels, a score of 0 is half the mean cosine of the label's own records.
    """
    from scipy import sparse

    activation, size = kind
    rows, labels = (np.arange(len(truth)), truth) if activation == "softmax" else np.nonzero(truth)
    shares = np.ones(len(rows)) if weights is None else weights[rows]
    sums = (sparse.csr_matrix((shares, (labels, rows)), (size, matrix.shape[0])) @ matrix).tocsr()
    lengths = np.sqrt(np.asarray(sums.multiply(sums).sum(axis=1))).ravel()
    coefficients = sparse.diags(_STEEPNESS / np.maximum(lengths, 1e-12)) @ sums
    own = lengths / np.maximum(np.bincount(labels, shares, size), 1e-12)
    intercepts = np.zeros(size) if activation == "softmax" else -0.5 * _STEEPNESS * own
    return coefficients.astype(np.float32).tocsr(), intercepts.astype(np.float32)


def quantised(coefficients: sparse.csr_matrix, intercepts: NDArray[np.float32]) -> Scorer:
    """Return the coefficients, shape (outputs, columns), as whole numbers from -127 to 127 with a scale per output."""
    from scipy import sparse

    largest = abs(coefficients).max(axis=1).toarray().ravel()
    scales = np.maximum(largest, 1e-12).astype(np.float32) / 127
    whole = np.rint(coefficients.data / np.repeat(scales, np.diff(coefficients.indptr))).astype(np.int8)
    return sparse_scorer(sparse.csr_matrix((whole, coefficients.indices, coefficients.indptr), coefficients.shape), scales, intercepts)


def sparse_scorer(weights: sparse.csr_matrix, scales: NDArray[np.float32], intercepts: NDArray[np.float32]) -> Scorer:
    """Return the weights, shape (outputs, columns), without those that are 0."""
    by_column = weights.tocsc()
    by_column.eliminate_zeros()
    by_column.sort_indices()
    outputs = by_column.indices.astype(_index_type(len(scales)))
    return Scorer(by_column.indptr.astype(np.int64), outputs, by_column.data, scales, intercepts)


def most_influential(coefficients: sparse.csr_matrix, influence: NDArray[np.float32], most: int) -> sparse.csr_matrix:
    """Return the coefficients, with 0 for all but the `most` ones that change scores the most.

    `influence` is the root mean square of each column of the vectors.
    """
    if coefficients.nnz <= most:
        return coefficients
    effect = np.abs(coefficients.data) * influence[coefficients.indices]
    limit = np.partition(effect, effect.size - most)[effect.size - most] if most else np.inf
    kept = coefficients.copy()
    kept.data[effect <= limit] = 0
    kept.eliminate_zeros()
    return kept


def _index_type(size: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if size <= 256 else np.uint16)


def _sample(texts: Sequence[Sequence[str]], limit: int) -> NDArray[np.int64]:
    """Return the indices of the rows on which the model is fitted: all, or a random sample with at most `limit` characters.

    The sample is the same in every call.
    """
    lengths = np.array([[len(text) for text in side] for side in texts], np.int64).sum(axis=0)
    order = np.random.default_rng(0).permutation(len(lengths))
    fitting = int(np.searchsorted(np.cumsum(lengths[order]), limit, side="right"))
    if len(order) <= ROWS and fitting >= len(order):
        return np.arange(len(order))
    return np.sort(order[: max(1, min(ROWS, fitting))])
