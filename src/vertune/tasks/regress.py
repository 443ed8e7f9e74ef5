"""Predicts a number for a text, for a pair of texts or for the fields that the option `inputs` lists.

Independent of the encoder. A long text may be divided into windows (overlapping pieces); the numbers that the model
predicts for the windows are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from vertune.core.errors import ConfigError, DataError
from vertune.core.profile import ColumnProfile, Guess, TableProfile
from vertune.core.records import Activation, Answer, Cleaned, Column, Feature, Record, Targets
from vertune.decoders import regress as decoder
from vertune.decoders import windows
from vertune.metrics import regression
from vertune.tasks import _guess, _inputs, _rows

if TYPE_CHECKING:
    import polars as pl
    import torch

_POINTS = 500


class NumberAnswer(TypedDict):
    """The prediction for one record: the predicted number (`score`), and whether the model input was truncated."""

    score: float
    truncated: bool


def _is_quantity(column: ColumnProfile) -> bool:
    """Return whether a column can contain the numbers to predict: quantities, or whole numbers with the name of a quantity."""
    return column.unique > 1 and (column.kind == "number" or (column.whole and column.role("number") > 0.5))


def names_mean(name: str) -> bool:
    """Return whether the name of a column says that it is the mean or the sum of other columns, such as `score_avg`."""
    return any(word in name.casefold() for word in ("avg", "average", "mean", "overall", "total", "平均", "总分", "综合"))


class Regress(_inputs.SingleView):
    """Options of the regression task, which predicts a number (score) for each record."""

    columns: ClassVar[tuple[Column, ...]] = (
        _inputs.TEXT,
        _inputs.PAIR,
        Column("score", "The number.", role="target", type="number"),
    )
    answer: ClassVar[type[Any]] = NumberAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    activation: ClassVar[Activation | None] = "identity"
    linear_head: ClassVar[bool] = True
    native_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("pearson", "rmse", "mae", "r2")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"rmse", "mae"})

    mean: float | None = None
    """Mean of the training scores; set by training. The model's output is the distance of the score from it, in standard deviations."""
    deviation: float | None = None
    """Standard deviation of the training scores; set by training."""
    bounds: tuple[float, float] | None = None
    """Least and greatest possible prediction; the model's predictions are clipped to this range."""
    objective: Literal["squared", "huber"] = "squared"
    """The loss: squared error, or the Huber loss, on which outliers have less influence."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        """Check the option `bounds`; raise ConfigError unless the lower bound is less than the upper bound."""
        if self.bounds and self.bounds[0] >= self.bounds[1]:
            raise ConfigError(
                f"The option `bounds` is {list(self.bounds)}, but the first number must be less than the second. Change `bounds`."
            )
        return self

    @property
    def _target(self) -> str:
        """The name of the score column, which contains the numbers to predict."""
        return self.target_columns[0].name

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Check the rows, and convert the scores to floats if the data has a score column.

        The result contains the valid rows, and the rejected rows with reasons, such as a score that is not a finite
        number. Raises DataError if no value of the score column is a number.
        """
        checks, name = self.check_inputs(frame), self._target
        if name in frame.columns:
            raw, number = _rows.number(frame, name, self.decimal)
            checks.problems.append((raw.is_null() | (raw == ""), f"{name} is missing"))
            checks.problems.append((~number.is_finite().fill_null(False), _rows.not_finite(name, raw)))
            checks.results.append(number.alias(name))
            checks.changes += _rows.separated(frame, name, self.decimal)
        return _rows.sift(frame, checks, self.name)

    def fit(self, frame: pl.DataFrame) -> Self:
        """Return a copy with `mean` and `deviation` set to the mean and standard deviation of the training scores.

        Raises DataError if all training scores are equal.
        """
        values = _rows.target(frame, self._target, self.name).to_list()
        mean = math.fsum(values) / len(values)  # fsum is exact, so the order of rows does not matter
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        if not deviation > 1e-12 * max(1.0, abs(mean)):
            raise DataError(
                f"All {len(values)} training rows have the value {values[0]:g} in the column '{self._target}', but the task "
                f"'{self.name}' needs different values. Add rows with other values, or check which column is read."
            )
        return self.model_copy(update={"mean": mean, "deviation": deviation})

    def guess(self, table: TableProfile) -> Guess | None:
        """Return which column could contain the number to predict, and which columns it could be predicted from.

        Of several columns such as the grades of two people and their mean, the mean is taken.
        """
        found = _guess.target(table, ("number", "category"), "number", _is_quantity)
        if found is not None and table.label is None:
            means = [column for column in table.of("number") if names_mean(column.name) and column.name not in table.texts]
            found = (means[0], found[1]) if means else found
        guess = _guess.single(self, table, found, "contains numbers")
        if guess is not None and found is not None and found[0].decimal != "point":
            guess.options["decimal"] = found[0].decimal
        return guess

    @property
    def size(self) -> int:
        """The number of outputs of the model per input: one."""
        return 1

    def head(self, width: int) -> torch.nn.Module:
        """Return a new head (last layer): a linear layer from vectors of length `width` to one output."""
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Return, for each feature (model input), the standardised score (float32) of the record that the feature was made from.

        A standardised score is the distance of the score from the mean of the training scores, in standard deviations
        of these scores.
        """
        mean, deviation = self._scale()
        values = ((self._truth(records) - mean) / deviation).astype(np.float32)
        return Targets(list(values[windows.owners(features)]))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each model input, shape (inputs,): the squared error or Huber loss on standardised scores."""
        from vertune.nn import losses

        return losses.huber(outputs, targets) if self.objective == "huber" else losses.squared_error(outputs, targets)

    def decoder_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `decode` in `vertune.decoders.regress`, which makes answers from model outputs.

        They are the mean and standard deviation of the training scores, and the bounds of the predictions (None without
        bounds).
        """
        mean, deviation = self._scale()
        return {"mean": mean, "deviation": deviation, "bounds": list(self.bounds) if self.bounds else None}

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[Any]:
        """Return eight terms per record, such as the squared error, shape (records, 8).

        The terms are those of `metrics.regression.tally`. `summarise` computes the metrics from the sum of the rows.
        """
        return regression.tally(self._truth(records), self._guess(answers), self._scale()[0])

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return Pearson's correlation, RMSE, MAE and R2; `total` is the sum of the rows that `tally` returns."""
        return dict(regression.summarise(total))

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return what the evaluation report shows besides metrics.

        This is: Spearman's correlation, a sample of (true score, predicted score) pairs for a plot, and the
        predictions, the largest errors first.
        """
        truth, guess = self._truth(records), self._guess(answers)
        worst = np.argsort(-np.abs(guess - truth), kind="stable")
        return {
            "spearman": regression.spearman(truth, guess),
            "points": np.stack([truth, guess], axis=1)[:: max(1, len(truth) // _POINTS)].tolist(),
            "errors": [
                {
                    "row": int(row),
                    **_inputs.shown(records[row], self.input_columns),
                    "expected": float(truth[row]),
                    "answered": float(guess[row]),
                    "error": float(guess[row] - truth[row]),
                }
                for row in worst
                if truth[row] != guess[row]
            ],
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """Fit two baselines, and return their predictions for the test records.

        `majority` always predicts the mean of the training scores. `tfidf` is a ridge regression on TF-IDF features;
        unless there are many training records, its regularisation is chosen on the validation records.
        """
        from vertune.baselines import linear

        values, held = self._truth(train), self._truth(validation)
        mean, deviation = self._scale()
        train, validation, test = (_inputs.as_texts(rows, self.input_columns) for rows in (train, validation, test))
        held_out = linear.HoldOut(validation, (held - mean) / deviation)
        fitted = linear.numbers(train, (values - mean) / deviation, held_out)
        return {
            "majority": decoder.answers(np.full(len(test), values.mean() if len(values) else mean), self.bounds),
            "tfidf": decoder.answers(fitted(test) * deviation + mean, self.bounds),
        }

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return example rows: opinions on a service, each with a score from 1 to 5.

        One word of each text, such as `excellent`, shows its score.
        """
        cues = {5.0: "excellent", 1.0: "terrible", 4.0: "good", 2.0: "poor", 3.0: "average"}
        things = ("service", "food", "room", "staff")
        frames = ("the {} was {}", "we found the {} {}", "their {} is {} as always")
        scores = tuple(cues)
        made = []
        for row in range(rows):
            score = scores[row % len(scores)]
            made.append({"text": frames[row % len(frames)].format(things[(row // 3) % len(things)], cues[score]), "score": score})
        return made

    def _scale(self) -> tuple[float, float]:
        """Return the mean and standard deviation of the training scores; before training, return 0 and 1."""
        return (0.0 if self.mean is None else self.mean), (1.0 if self.deviation is None else self.deviation)

    def _truth(self, records: Sequence[Record]) -> NDArray[np.float64]:
        """Return the true score of each record, shape (records,)."""
        return np.fromiter((record[self._target] for record in records), np.float64, len(records))

    @staticmethod
    def _guess(answers: Sequence[Answer]) -> NDArray[np.float64]:
        """Return the predicted score in each answer, shape (answers,)."""
        return np.fromiter((answer["score"] for answer in answers), np.float64, len(answers))
