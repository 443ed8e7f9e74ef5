"""Predictions for held-out (validation) records during training, and what is concluded from them; writes no files."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Run, Task
from vertune.core.records import Answer, Record
from vertune.learning.examples import Examples
from vertune.learning.training_input import TrainingInput
from vertune.metrics import bootstrap
from vertune.metrics.normal import QUANTILE
from vertune.nn.run import Around, outputs
from vertune.nn.vertical import VerticalModel
from vertune.reports.words import limits


@dataclass(slots=True)
class HeldOutPredictions:
    """A model's predictions for held-out (validation) records.

    Before predicting, the task's decision thresholds are fitted to the same records, for each model separately, so that
    models are compared at thresholds that suit them.
    """

    task: Task
    records: Sequence[Record]
    answers: list[Answer]
    outputs: Sequence[NDArray[Any]] = ()
    """The outputs of the model, one array per feature (model input)."""
    seconds: float = 0.0
    """Seconds that the outputs took."""

    @property
    def tally(self) -> NDArray[Any]:
        """One row of statistics per record or query, from whose sum the task computes the metrics of these predictions."""
        return self.task.tally(self.records, self.answers)

    @property
    def units(self) -> NDArray[Any]:
        """The tally, where the rows of records with equal inputs are added up, so that a bootstrap draws them together."""
        return bootstrap.units(self.tally, self.records, [column.name for column in self.task.input_columns])

    @property
    def metrics(self) -> dict[str, float]:
        """The value of each of the task's metrics for these predictions, by name."""
        return self.task.score(self.records, self.answers)


def predict(model: VerticalModel, training_input: TrainingInput, held_out: Examples, within: Around | None = None) -> HeldOutPredictions:
    """Return a model's predictions for held-out examples.

    `within` returns a context for the forward pass of a batch, such as one with lower precision. If it is None, all
    passes are computed in float32.
    """

    def run(features: Sequence[Any]) -> list[Any]:
        context = within if features is held_out.features else None
        return outputs(model, training_input.encoder, features, training_input.config.device.tokens, around=context)

    started = time.perf_counter()
    raw = run(held_out.features)
    seconds = time.perf_counter() - started
    return decoded(training_input.task, held_out, raw, seconds, run)


def decoded(
    task: Task, held_out: Examples, raw: Sequence[NDArray[Any]], seconds: float = 0.0, run: Run | None = None
) -> HeldOutPredictions:
    """Decode outputs for held-out examples at thresholds that suit these outputs, which took so many seconds.

    `run` runs the model on further features (model inputs), for tasks whose decoding needs it.
    """
    fitted = task.calibrate(held_out.records, held_out.features, raw)
    return HeldOutPredictions(fitted, held_out.records, fitted.decode(held_out.records, held_out.features, raw, run=run), raw, seconds)


def is_worse(task: Task, after: NDArray[Any], before: NDArray[Any]) -> bool:
    """Return whether training made the main metric worse by more than one standard error of the difference.

    `after` and `before` are statistics of the predictions after and before training, one row per record or query. A
    smaller difference is ignored, because it means little on a few dozen validation rows, and training more layers is
    usually better.
    """
    values = [task.summarise(np.asarray(side, np.float64).sum(axis=0))[task.goal] for side in (after, before)]
    if not (values[0] - values[1]) * task.goal_sign < 0:
        return False  # without a bootstrap, which takes much longer
    difference = bootstrap.paired(bootstrap.Tallies(after, task.summarise), bootstrap.Tallies(before, task.summarise))[task.goal]
    error = (difference.high - difference.low) / (2 * QUANTILE)
    return bool(difference.value * task.goal_sign < -max(error, 0.0)) if math.isfinite(error) else False


def intervals(predictions: HeldOutPredictions, seed: int) -> dict[str, list[float]]:
    """Return the two ends of the 95 % bootstrap interval of each metric, by name.

    Metrics whose interval can't be computed are omitted.
    """
    found = bootstrap.intervals(predictions.units, predictions.task.summarise, seed=seed, limits=limits)
    return {name: [entry.low, entry.high] for name, entry in found.items() if math.isfinite(entry.high - entry.low)}
