"""A logistic regression from a few values of a message to a probability, stored as JSON; knows nothing of what the values are.

scikit-learn fits it, and NumPy computes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.errors import DataError, MissingExtra

Floats = NDArray[np.floating[Any]]
_FEWEST = 10
"""Fewest rows of each of the two kinds with which it is fitted."""


@dataclass(frozen=True, slots=True)
class Regression:
    """A regression that was fitted on rows of values, of which each is of one kind or of the other."""

    columns: tuple[int, ...]
    """The columns that it reads."""
    middle: tuple[float, ...]
    """What is subtracted from each, and in `scale` what each is then divided by."""
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    names: tuple[str, ...] = ()
    """What the columns that it reads are called, for messages; empty in what older versions stored."""

    @classmethod
    def fit(cls, rows: Floats, positive: NDArray[np.bool_], names: Sequence[str], penalty: float = 1.0) -> Regression:
        """Fit it on rows, shape (rows, columns), and which of them are positive; `names` are those of the columns.

        Columns without a value in some row are left out. Raises DataError with fewer than 10 rows of a kind, MissingExtra without
        scikit-learn.
        """
        if min(positive.sum(), (~positive).sum()) < _FEWEST:
            raise DataError(
                f"There are {int(positive.sum())} rows of one kind and {int((~positive).sum())} of the other. Fitting a regression needs "
                f"at least {_FEWEST} of each. Add rows to the calibration data."
            )
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise MissingExtra("Fitting a regression on calibration data", "train", "scikit-learn") from error
        columns = np.flatnonzero(np.isfinite(rows).all(0)).tolist()
        values = rows[:, columns]
        middle, scale = values.mean(0), np.maximum(values.std(0), 1e-6)
        model = LogisticRegression(C=1 / penalty, max_iter=1_000).fit((values - middle) / scale, positive)
        return cls(
            columns=tuple(columns),
            middle=tuple(middle.tolist()),
            scale=tuple(scale.tolist()),
            weights=tuple(model.coef_[0].tolist()),
            bias=float(model.intercept_[0]),
            names=tuple(names[column] for column in columns),
        )

    @classmethod
    def held_out(cls, rows: Floats, positive: NDArray[np.bool_], names: Sequence[str], folds: int = 5, seed: int = 0) -> Floats:
        """Return the probability of each row by a regression that was fitted without it, so that thresholds may be learnt on them."""
        scores = np.zeros(len(rows))
        fold = np.random.default_rng(seed).permutation(len(rows)) % folds
        for part in range(folds):
            scores[fold == part] = cls.fit(rows[fold != part], positive[fold != part], names).score(rows[fold == part])
        return scores

    def score(self, rows: Floats) -> Floats:
        """Return the probability of being positive, shape (rows,). Raises DataError if values are missing with which it was fitted."""
        values = rows[:, list(self.columns)]
        if not np.isfinite(values).all():
            names = self.names or [str(column) for column in self.columns]
            missing = [name for name, column in zip(names, self.columns, strict=True) if not np.isfinite(rows[:, column]).all()]
            raise DataError(
                f"The values {', '.join(missing)} are missing, with which a regression was fitted; expected a number in each row. "
                "Pass all of them, or fit it again."
            )
        linear = ((values - self.middle) / self.scale) @ np.array(self.weights) + self.bias
        score: Floats = np.exp(-np.logaddexp(0, -linear))
        return score

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a dict that `read` takes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Regression:
        """Return the regression that `as_json` wrote."""
        lists = {name: tuple(stored[name]) for name in ("columns", "middle", "scale", "weights")}
        return cls(**lists, bias=float(stored["bias"]), names=tuple(stored.get("names", ())))
