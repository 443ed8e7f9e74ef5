"""A number for a text, for two texts, or for the fields that `inputs` names.

Knows nothing of the encoder: it reads one output a feature and merges the windows of a record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from vertune.core.errors import ConfigError, DataError
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Targets
from vertune.decoders import regress as decoder
from vertune.decoders import windows
from vertune.metrics import regression
from vertune.tasks import _inputs, _rows

if TYPE_CHECKING:
    import polars as pl
    import torch

_ERRORS = 30
_POINTS = 500


class NumberAnswer(TypedDict):
    """The answer for one record."""

    score: float
    truncated: bool


class Regress(_inputs.SingleView):
    """Options of regression."""

    columns: ClassVar[tuple[Column, ...]] = (
        _inputs.TEXT,
        _inputs.PAIR,
        Column("score", "The number.", role="target", type="number"),
    )
    answer: ClassVar[type[Any]] = NumberAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    linear_head: ClassVar[bool] = True
    native_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("pearson", "rmse", "mae", "r2")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"rmse", "mae"})

    mean: float | None = None
    """Mean of the training rows, learnt: the model answers in standard deviations from it."""
    deviation: float | None = None
    """Standard deviation of the training rows, learnt."""
    bounds: tuple[float, float] | None = None
    """Least and greatest answer; what lies beyond is moved to them."""
    objective: Literal["squared", "huber"] = "squared"
    """What is minimised; huber lets outliers pull less."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.bounds and self.bounds[0] >= self.bounds[1]:
            raise ConfigError(f"bounds must be the least answer, then the greatest; got {list(self.bounds)}.")
        return self

    @property
    def _target(self) -> str:
        """Name of the column that holds the number."""
        return self.target_columns[0].name

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows with their inputs and, where the target is there, that as a finite number."""
        checks, name = self.check_inputs(frame), self._target
        if name in frame.columns:
            raw, number = _rows.number(frame, name)
            checks.problems.append((raw.is_null() | (raw == ""), f"{name} is missing"))
            checks.problems.append((~number.is_finite().fill_null(False), _rows.not_finite(name, raw)))
            checks.results.append(number.alias(name))
        return _rows.sift(frame, checks, self.name)

    def fit(self, frame: pl.DataFrame) -> Self:
        """A copy that knows the mean and the standard deviation of the training rows."""
        values = _rows.target(frame, self._target, self.name).to_list()
        mean = math.fsum(values) / len(values)  # exact sums, so that the order of rows does not matter
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        if not deviation > 1e-12 * max(1.0, abs(mean)):
            raise DataError(f"The task '{self.name}' needs training rows of different scores, but all {len(values)} have {values[0]:g}.")
        return self.model_copy(update={"mean": mean, "deviation": deviation})

    @property
    def size(self) -> int:
        """One number."""
        return 1

    def head(self, width: int) -> torch.nn.Module:
        """One linear layer."""
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Standardised score of each feature's record, float32."""
        mean, deviation = self._scale()
        values = ((self._truth(records) - mean) / deviation).astype(np.float32)
        return Targets(list(values[windows.owners(features)]))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Squared or Huber loss of each feature, in standard deviations."""
        from vertune.nn import losses

        return losses.huber(outputs, targets) if self.objective == "huber" else losses.squared_error(outputs, targets)

    def decoder_options(self) -> dict[str, Any]:
        """The scale of the outputs, and the bounds."""
        mean, deviation = self._scale()
        return {"mean": mean, "deviation": deviation, "bounds": list(self.bounds) if self.bounds else None}

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[Any]:
        """Sums of scores, answers and errors, shape (records, 8)."""
        return regression.tally(self._truth(records), self._guess(answers), self._scale()[0])

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Pearson's correlation, RMSE, MAE and R2."""
        return dict(regression.summarise(total))

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Spearman's correlation, some pairs of score and answer, and the answers that are furthest off."""
        truth, guess = self._truth(records), self._guess(answers)
        worst = np.argsort(-np.abs(guess - truth), kind="stable")[:_ERRORS]
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
        """The mean of the training rows, and ridge regression on TF-IDF of words and characters."""
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
        """Opinions on a service, from 1 to 5, told by one word."""
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
        """Mean and standard deviation in use: 0 and 1 before anything is learnt."""
        return (0.0 if self.mean is None else self.mean), (1.0 if self.deviation is None else self.deviation)

    def _truth(self, records: Sequence[Record]) -> NDArray[np.float64]:
        return np.fromiter((record[self._target] for record in records), np.float64, len(records))

    @staticmethod
    def _guess(answers: Sequence[Answer]) -> NDArray[np.float64]:
        return np.fromiter((answer["score"] for answer in answers), np.float64, len(answers))
