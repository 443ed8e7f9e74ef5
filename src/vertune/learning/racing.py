"""Compares candidates by cross-validation, and ends the training of those that another one clearly beats; trains nothing itself.

A paired test of two candidates reads the rows that both were held out from: first the main metric and, where this can't tell them
apart, the log-loss of calibrated probabilities, which says more about few rows, because it also sees how sure the answers are. The
candidates run fold by fold, as in a race (Maron and Moore 1994), so that a fold is spent on those alone that can still be chosen.
This module does not depend on how a candidate is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.learning import clock, companion
from vertune.learning.choice import TrainingGoal
from vertune.learning.examples import Examples
from vertune.learning.held_out import HeldOutPredictions, decoded, is_worse
from vertune.learning.training_input import TrainingInput
from vertune.learning.tried import entry

_LEAST_ROWS = 30
"""Number of held-out rows from which on candidates leave the race: fewer can't tell them apart, and cost little. The companion is learnt
from the rows of a race with one candidate left."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model that was trained on some rows puts out for others."""

    values: list[NDArray[Any]]
    """One array per feature (model input)."""
    seconds: float
    """Seconds that they took."""
    bytes: int
    """The size of the weights that were trained."""


Fit = Callable[[TrainingGoal, TrainingInput, Examples], Outputs]
"""A function that trains a new model for a goal, and returns its outputs for other examples."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the goals that are compared, with the time that one training on all labelled rows is expected to take."""

    name: str
    goal: TrainingGoal
    seconds: float


@dataclass(slots=True)
class Score:
    """What cross-validation found out about a candidate."""

    candidate: Candidate
    found: HeldOutPredictions
    """The predictions for the held-out rows of all folds in which the candidate ran."""
    losses: NDArray[np.float64]
    """The log-loss of each of these rows after calibration, where rows with equal inputs are one; empty if the task has none."""
    seconds: float
    """Seconds that these folds took."""
    bytes: int
    """The size of the trained weights."""
    folds: int = 0
    """The number of these folds."""
    out: bool = False
    """Whether the candidate left the race, so that it can't be chosen."""

    @property
    def metric(self) -> float:
        """The task's main metric over the held-out rows; the worst value if it is not a number."""
        value, sign = self.found.metrics[self.found.task.goal], self.found.task.goal_sign
        return value if math.isfinite(value) else -sign * math.inf

    @property
    def gain(self) -> float:
        """The main metric, negated if less is better."""
        return self.metric * self.found.task.goal_sign

    @property
    def loss(self) -> float | None:
        """The mean log-loss after calibration; None if the task has none."""
        return float(self.losses.mean()) if len(self.losses) else None

    @property
    def rank(self) -> tuple[float, float, float]:
        """What candidates are ordered by: the main metric, then the log-loss, then the time; more is better."""
        return self.gain, -(self.loss or 0.0), -self.candidate.seconds

    def described(self, seed: int, kept: bool) -> dict[str, Any]:
        """Return what the report says about the candidate; `kept` is whether it was chosen."""
        facts = entry(self.candidate.name, self.found, (self.seconds, self.bytes), seed)
        return {**facts, **({} if self.loss is None else {"log_loss": self.loss}), "folds": self.folds, "kept": kept}


@dataclass(slots=True)
class _Runner:
    """A candidate with the outputs of the folds in which it has run so far."""

    candidate: Candidate
    outputs: list[Outputs] = field(default_factory=list)
    seconds: float = 0.0
    score: Score | None = None

    def run(self, training_input: TrainingInput, held_out: Examples, fit: Fit) -> None:
        """Train on the rows of one more fold."""
        started = clock.now()
        self.outputs.append(fit(self.candidate.goal, training_input, held_out))
        self.seconds += clock.now() - started

    def measure(self, training_input: TrainingInput, rows: Examples) -> Score:
        """Return the score for `rows`, the held-out rows of all folds so far, fold after fold."""
        task, raw = training_input.task, [value for fold in self.outputs for value in fold.values]
        found = decoded(task, rows, raw, sum(fold.seconds for fold in self.outputs))
        losses = companion.calibrated_losses(task, rows, raw)
        size = max(fold.bytes for fold in self.outputs)
        self.score = Score(self.candidate, found, losses, self.seconds, size, folds=len(self.outputs))
        return self.score


def race(
    training_input: TrainingInput, pool: Examples, fit: Fit, candidates: Sequence[Candidate], parts: Sequence[NDArray[np.int64]]
) -> list[Score]:
    """Train the candidates without each of the parts of `pool` in turn, and score their outputs for the rows of all parts together.

    A candidate that can't be chosen any more leaves the race, so its score has fewer folds and rows. The race ends when one is left.
    """
    running = runners = [_Runner(candidate) for candidate in candidates]
    for number, held in enumerate(parts):
        others = replace(training_input, examples=training_input.without(pool, held))
        for runner in running:
            step = number * len(candidates) + runners.index(runner)
            training_input.progress("comparing", step=step, steps=len(parts) * len(candidates), name=runner.candidate.name)
            runner.run(others, pool.subset(held), fit)
        rows = pool.subset(np.concatenate(parts[: number + 1]))
        scores = [runner.measure(training_input, rows) for runner in running]
        if len(rows) >= _LEAST_ROWS and number < len(parts) - 1:
            for score in scores:
                score.out = _is_out(score, scores)
            running = [runner for runner, score in zip(running, scores, strict=True) if not score.out]
            if len(running) == 1:
                break
    return [runner.score for runner in runners if runner.score]


def best(scores: Sequence[Score]) -> Score:
    """Return the score of the last candidate that no other one clearly beats, of those that did not leave the race.

    A smaller difference means little on a few dozen rows, and what trains more layers, and compares rows, is usually better on others.
    """
    complete = [score for score in scores if not score.out and math.isfinite(score.metric)] or list(scores)
    unbeaten = [score for score in complete if not any(beats(other, score) for other in complete)]
    return unbeaten[-1] if unbeaten else max(complete, key=lambda score: score.rank)


def beats(one: Score, other: Score) -> bool:
    """Return whether one candidate is clearly better than another on the same rows: by more than one standard error of the difference.

    The main metric decides or, if neither candidate is clearly better in it, the log-loss.
    """
    return _has_better_metric(one, other) or (not _has_better_metric(other, one) and _has_smaller_loss(one, other))


def _has_better_metric(one: Score, other: Score) -> bool:
    if not (math.isfinite(one.metric) and math.isfinite(other.metric)):
        return one.gain > other.gain
    return is_worse(one.found.task, other.found.units, one.found.units)


def _has_smaller_loss(one: Score, other: Score) -> bool:
    gains = other.losses - one.losses
    if len(gains) < 2:
        return False
    return bool(gains.mean() > gains.std(ddof=1) / math.sqrt(len(gains)))


def _is_out(score: Score, scores: Sequence[Score]) -> bool:
    """Return whether a candidate leaves the race: one that clearly beats it is worse neither in the metric nor in the log-loss."""
    ahead = (other for other in scores if other.gain >= score.gain and (other.loss or 0.0) <= (score.loss or 0.0))
    return any(beats(other, score) for other in ahead)
