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
    """Validation records with their true values, for choosing the strength of the regularisation.

    The true values are class indices for a classification, or numbers for a regression.
    """

    records: Sequence[Record]
    truth: NDArray[Any]


def classes(train: Sequence[Record], truth: NDArray[np.int64], count: int, validation: HoldOut) -> Answer:
    """Fit a logistic regression that assigns one class to each record, and return it as a function.

    The function takes records and returns the probabilities of the `count` classes, shape (records, count). `truth`
    contains the class index of each training record. The strength of the regularisation is the one with the best
    accuracy on the validation records. If there are no validation records, or more than SEARCH_ROWS (5,000) training
    records, a default strength is used.
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
    """Fit one logistic regression for each label that a record may have, and return them as one function.

    The function takes records and returns the probability of each label, shape (records, labels). `present`, of the
    same shape, is true where a training record has a label.
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
    """Fit a ridge regression that predicts a number for each record, and return it as a function.

    The function takes records and returns numbers of shape (records,). `values` contains the true number of each
    training record. The penalty is the one with the smallest squared error on the validation records. If there are no
    validation records, or more than SEARCH_ROWS (5,000) training records, a default penalty is used.
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
    """Convert `predict`, a function of TF-IDF vectors, to a function of records, and return that function.

    `width` is the shape of the prediction for one record: the number of classes, or empty if the prediction is a single
    number. For an empty list of records, the function returns an empty array of shape (0, *width) without calling
    `predict`.
    """
    return lambda records: predict(vectors.of(records)) if len(records) else np.empty((0, *width))


def _search_matrix(vectors: Vectors, validation: HoldOut, rows: int) -> sparse.csr_matrix | None:
    """Return the TF-IDF vectors of the validation records, on which the strength of the regularisation is chosen.

    Return None if it is not chosen: if there are no validation records, or if `rows`, the number of training rows, is
    over SEARCH_ROWS.
    """
    return vectors.of(validation.records) if len(validation.records) and rows <= SEARCH_ROWS else None


def _best(
    fit: Callable[[float], _Predict],
    values: Sequence[float],
    held_out: sparse.csr_matrix | None,
    score: Callable[[NDArray[np.float64]], float],
) -> _Predict:
    """Choose the strength of the regularisation: fit one model for each of `values` and return the best of these models.

    The best model is the one whose predictions for the validation vectors `held_out` have the highest `score`. If
    `held_out` is None, only a model for the first value is fitted.
    """
    if held_out is None:
        return fit(values[0])
    return max([fit(value) for value in values], key=lambda predict: score(predict(held_out)))


def _sample(count: int) -> NDArray[np.int64]:
    """Choose the training rows on which a baseline is fitted, and return their indices.

    All `count` rows are chosen, or, if there are more than ROWS (30,000), a random sample of ROWS rows, which is the
    same in every call.
    """
    return np.arange(count) if count <= ROWS else np.sort(np.random.default_rng(0).permutation(count)[:ROWS])


@contextmanager
def _ignore_convergence_warnings() -> Iterator[None]:
    """Hide scikit-learn's convergence warnings in the `with` block: more iterations would hardly change the predictions."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
