"""Linear models on sparse vectors of texts: logistic regression and ridge; knows nothing of tasks or records."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.baselines.texts import Vectors
from vertune.core.records import Record

if TYPE_CHECKING:
    from scipy import sparse

Answer = Callable[[Sequence[Record]], NDArray[np.float64]]
"""What a fitted baseline says of records: probabilities of shape (records, classes), or numbers of shape (records,)."""

ROWS = 30_000
"""Training rows that are read at most, drawn evenly: a baseline must not cost more than the model it is compared with."""
CHOSEN = 5_000
"""Training rows up to which the strength is chosen on validation; above, the middle one is near enough."""
_STRENGTHS = (10.0, 1.0, 100.0)
_PENALTIES = (10.0, 1.0, 3.0, 30.0, 100.0)


def classes(
    train: Sequence[Record], truth: NDArray[np.int64], count: int, validation: tuple[Sequence[Record], NDArray[np.int64]]
) -> Answer:
    """Logistic regression with one class a row; `truth` holds class indices below `count`.

    The strength with the best accuracy on validation is taken where the training rows are few.
    """
    from sklearn.linear_model import LogisticRegression

    rows = _some(len(train))
    vectors = Vectors([train[row] for row in rows])
    seen, known = vectors.of([train[row] for row in rows]), truth[rows]
    present = np.unique(known)

    def fitted(strength: float) -> Callable[[sparse.csr_matrix], NDArray[np.float64]]:
        spread = np.zeros((1, count))
        if len(present) < 2:
            spread[0, present] = 1
            return lambda matrix: np.repeat(spread, matrix.shape[0], axis=0)
        with _unfinished():
            model = LogisticRegression(C=strength, max_iter=60).fit(seen, known)

        def say(matrix: sparse.csr_matrix) -> NDArray[np.float64]:
            result = np.zeros((matrix.shape[0], count))
            result[:, present] = model.predict_proba(matrix)
            return result

        return say

    say = _best(fitted, _STRENGTHS, seen, vectors, validation, lambda said, right: float((said.argmax(1) == right).mean()))
    return _reader(vectors, say, count)


def sets(train: Sequence[Record], present: NDArray[np.bool_]) -> Answer:
    """One logistic regression a label; `present` says which labels each row has, shape (rows, labels)."""
    from sklearn.linear_model import LogisticRegression

    rows = _some(len(train))
    vectors = Vectors([train[row] for row in rows])
    seen, known = vectors.of([train[row] for row in rows]), present[rows]
    models = []
    with _unfinished():
        for column in known.T:
            varied = column.any() and not column.all()
            models.append(
                LogisticRegression(C=10.0, solver="liblinear", dual=True, tol=0.1, random_state=0).fit(seen, column)
                if varied
                else float(column[0])
            )

    def say(matrix: sparse.csr_matrix) -> NDArray[np.float64]:
        columns = [np.full(matrix.shape[0], model) if isinstance(model, float) else model.predict_proba(matrix)[:, 1] for model in models]
        return np.stack(columns, axis=1)

    return _reader(vectors, say, present.shape[1])


def numbers(train: Sequence[Record], values: NDArray[np.float64], validation: tuple[Sequence[Record], NDArray[np.float64]]) -> Answer:
    """Ridge regression on numbers (rows,); the penalty with the least squared error on validation is taken."""
    from sklearn.linear_model import Ridge

    rows = _some(len(train))
    vectors = Vectors([train[row] for row in rows])
    seen = vectors.of([train[row] for row in rows])

    def fitted(penalty: float) -> Callable[[sparse.csr_matrix], NDArray[np.float64]]:
        model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-3).fit(seen, values[rows])
        return lambda matrix: np.asarray(model.predict(matrix), np.float64)

    say = _best(fitted, _PENALTIES, seen, vectors, validation, lambda said, right: -float(((said - right) ** 2).mean()))
    return _reader(vectors, say)


def _reader(vectors: Vectors, say: Callable[[sparse.csr_matrix], NDArray[np.float64]], *width: int) -> Answer:
    """What is said of vectors, said of records; scikit-learn refuses to be asked of none."""
    return lambda records: say(vectors.of(records)) if len(records) else np.empty((0, *width))


def _best(
    fitted: Callable[[float], Any],
    options: Sequence[float],
    seen: sparse.csr_matrix,
    vectors: Vectors,
    validation: tuple[Sequence[Record], NDArray[Any]],
    score: Callable[[NDArray[Any], NDArray[Any]], float],
) -> Any:
    """The fit with the option that is best on validation; the first option where that is not worth its cost."""
    records, truth = validation
    if not len(records) or seen.shape[0] > CHOSEN:
        return fitted(options[0])
    matrix = vectors.of(records)
    tried = [fitted(option) for option in options]
    return max(tried, key=lambda say: score(say(matrix), truth))


def _some(count: int) -> NDArray[np.int64]:
    """Rows that are read: all, or ROWS of them, the same ones each time."""
    return np.arange(count) if count <= ROWS else np.sort(np.random.default_rng(0).permutation(count)[:ROWS])


@contextmanager
def _unfinished() -> Iterator[None]:
    """Let a solver stop at its last iteration in silence: a baseline that is nearly solved answers the same."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
