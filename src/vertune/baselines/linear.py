"""Baselines: logistic regression and ridge regression on TF-IDF vectors of texts; independent of tasks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.baselines.texts import Vectors
from vertune.core.records import Record

if TYPE_CHECKING:
    from scipy import sparse

Answer = Callable[[Sequence[Record]], NDArray[np.float64]]
"""A fitted baseline: a function that returns, for records, probabilities of shape (records, classes) or numbers of shape (records,)."""
_Predict = Callable[["sparse.csr_matrix"], NDArray[np.float64]]
"""A fitted baseline as a function whose argument is a matrix of TF-IDF vectors, one row per record."""

ROWS = 30_000
"""Maximum number of training rows that a baseline is fitted on, to limit its time; of more rows, a random sample is used."""
SEARCH_ROWS = 5_000
"""Maximum number of training rows for which the regularisation is chosen on validation records; for more, the default is used."""
_INVERSE_REGULARISATION = (10.0, 1.0, 100.0)
"""Values of C (inverse regularisation) to try for logistic regression; the first one is the default."""
_RIDGE_PENALTIES = (10.0, 1.0, 3.0, 30.0, 100.0)
"""Values of alpha (regularisation) to try for ridge regression; the first one is the default."""


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Validation records, used to choose the regularisation, with their true values: class indices, or numbers for regression."""

    records: Sequence[Record]
    truth: NDArray[Any]


def classes(train: Sequence[Record], truth: NDArray[np.int64], count: int, validation: HoldOut) -> Answer:
    """Fit a logistic regression, and return a function that returns the probabilities of the `count` classes for each record.

    `truth` contains the class index of each training record. If there are at most SEARCH_ROWS training records, the regularisation
    with the best accuracy on the validation records is chosen; otherwise, the default is used.
    """
    from sklearn.linear_model import LogisticRegression

    rows = _sample(len(train))
    vectors = Vectors([train[row] for row in rows])
    features, labels = vectors.of([train[row] for row in rows]), truth[rows]
    present = np.unique(labels)

    def fit(inverse_regularisation: float) -> _Predict:
        constant = np.zeros((1, count))
        if len(present) < 2:
            constant[0, present] = 1
            return lambda matrix: np.repeat(constant, matrix.shape[0], axis=0)
        with _ignore_convergence_warnings():
            model = LogisticRegression(C=inverse_regularisation, max_iter=60).fit(features, labels)

        def predict(matrix: sparse.csr_matrix) -> NDArray[np.float64]:
            result = np.zeros((matrix.shape[0], count))
            result[:, present] = model.predict_proba(matrix)
            return result

        return predict

    def accuracy(probabilities: NDArray[np.float64]) -> float:
        return float((probabilities.argmax(1) == validation.truth).mean())

    held_out = _search_matrix(vectors, validation, len(rows))
    return _on_records(vectors, _best(fit, _INVERSE_REGULARISATION, held_out, accuracy), count)


def sets(train: Sequence[Record], present: NDArray[np.bool_]) -> Answer:
    """Fit one logistic regression per label, and return a function that returns the probabilities of the labels for each record.

    `present`, of shape (records, labels), is true where a training record has a label.
    """
    from sklearn.linear_model import LogisticRegression

    rows = _sample(len(train))
    vectors = Vectors([train[row] for row in rows])
    features, labels = vectors.of([train[row] for row in rows]), present[rows]
    models = []
    with _ignore_convergence_warnings():
        for column in labels.T:
            varied = column.any() and not column.all()
            models.append(
                LogisticRegression(C=10.0, solver="liblinear", dual=True, tol=0.1, random_state=0).fit(features, column)
                if varied
                else float(column[0])
            )

    def predict(matrix: sparse.csr_matrix) -> NDArray[np.float64]:
        columns = [np.full(matrix.shape[0], model) if isinstance(model, float) else model.predict_proba(matrix)[:, 1] for model in models]
        return np.stack(columns, axis=1)

    return _on_records(vectors, predict, present.shape[1])


def numbers(train: Sequence[Record], values: NDArray[np.float64], validation: HoldOut) -> Answer:
    """Fit a ridge regression, and return a function that predicts a number for each record.

    `values` contains the true number of each training record. If there are at most SEARCH_ROWS training records, the penalty with
    the smallest squared error on the validation records is chosen; otherwise, the default is used.
    """
    from sklearn.linear_model import Ridge

    rows = _sample(len(train))
    vectors = Vectors([train[row] for row in rows])
    features = vectors.of([train[row] for row in rows])

    def fit(penalty: float) -> _Predict:
        model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-3).fit(features, values[rows])
        return lambda matrix: np.asarray(model.predict(matrix), np.float64)

    def negative_error(answers: NDArray[np.float64]) -> float:
        return -float(((answers - validation.truth) ** 2).mean())

    held_out = _search_matrix(vectors, validation, len(rows))
    return _on_records(vectors, _best(fit, _RIDGE_PENALTIES, held_out, negative_error))


def _on_records(vectors: Vectors, predict: _Predict, *width: int) -> Answer:
    """Return a function of records that computes their vectors and calls `predict`; for no records, it returns an array of length 0."""
    return lambda records: predict(vectors.of(records)) if len(records) else np.empty((0, *width))


def _search_matrix(vectors: Vectors, validation: HoldOut, rows: int) -> sparse.csr_matrix | None:
    """Return the vectors of the validation records, on which the regularisation is chosen; None if it is not chosen.

    It is not chosen if there are no validation records, or if `rows`, the number of training rows, is over SEARCH_ROWS.
    """
    return vectors.of(validation.records) if len(validation.records) and rows <= SEARCH_ROWS else None


def _best(
    fit: Callable[[float], _Predict],
    values: Sequence[float],
    held_out: sparse.csr_matrix | None,
    score: Callable[[NDArray[np.float64]], float],
) -> _Predict:
    """Fit a model for each of `values` (regularisation) and return the model with the highest score on the vectors `held_out`.

    If `held_out` is None, only the first value is used.
    """
    if held_out is None:
        return fit(values[0])
    return max([fit(value) for value in values], key=lambda predict: score(predict(held_out)))


def _sample(count: int) -> NDArray[np.int64]:
    """Return the indices of the training rows to use: all if `count` is at most ROWS, else a random sample with a fixed seed."""
    return np.arange(count) if count <= ROWS else np.sort(np.random.default_rng(0).permutation(count)[:ROWS])


@contextmanager
def _ignore_convergence_warnings() -> Iterator[None]:
    """Hide scikit-learn's convergence warnings in the `with` block; more iterations would hardly change the predictions."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
