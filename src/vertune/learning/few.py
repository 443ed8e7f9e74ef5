"""Chooses how to train on few labelled rows: compares candidates by cross-validation within the time limit.

The candidates are the linear probe, the contrastive objective, and fine-tuning with the loss of the task. On few rows no
single one is best: it depends on whether the pretrained states already separate the classes. The held-out rows of all
folds are scored together. This module does not depend on how a candidate is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.core.kinds import Task, method_that_moves
from vertune.learning import auto, clock, contrastive, defaults, team
from vertune.learning.choice import TimeLimit, TrainingGoal
from vertune.learning.examples import Examples
from vertune.learning.held_out import decoded
from vertune.learning.loop import steps_of
from vertune.learning.training_input import TrainingInput

ROWS_PER_LABEL = 64
"""Largest mean number of labelled rows per label for which candidates are compared."""
ROWS = 2000
"""Largest number of labelled rows for which candidates are compared."""
_FEWEST_ROWS = 10
"""Smallest number of labelled rows for which candidates are compared."""
_FOLDS = (5, 3, 2)
"""Numbers of folds to try, the best first, until the comparison fits in the time."""
_MARGIN = 0.85
"""Fraction of the remaining time that the comparison and the trainings after it may be planned to use."""

Fit = Callable[[TrainingGoal, TrainingInput, Examples], list[NDArray[Any]]]
"""A function that trains a new model for a goal, and returns its outputs for the features (model inputs) of other examples."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the goals that are compared, with the time that one training on all labelled rows is expected to take."""

    name: str
    goal: TrainingGoal
    seconds: float
    fits: int = 1
    """Number of trainings of the final model; the comparison needs one."""


@dataclass(slots=True)
class Score:
    """What cross-validation found out about a candidate."""

    candidate: Candidate
    metric: float
    """The task's main metric over the held-out rows of all folds."""
    loss: float
    """Mean loss of the task over the same rows."""
    seconds: float
    """Seconds that all folds took."""


def applies(training_input: TrainingInput, pool: Examples) -> bool:
    """Return whether candidates are compared: with `method: auto`, and few rows of a task whose targets can be compared.

    `pool` contains all labelled rows that the model may be trained on.
    """
    config, task = training_input.config, training_input.task
    free = config.method == "auto" and config.training.objective == "auto" and config.training.epochs == "auto"
    few = _FEWEST_ROWS <= len(pool) <= min(ROWS, ROWS_PER_LABEL * task.size)
    return free and few and task.compares_targets and config.encoder.pretrained and team.size() == 1


def compare(training_input: TrainingInput, pool: Examples, fit: Fit, speed: auto.StepTimes, time: TimeLimit) -> TrainingGoal | str:
    """Return the goal with the best score in a cross-validation on the rows of `pool`.

    If there is too little time to compare anything, return a sentence about what a longer limit would allow.
    """
    candidates = _candidates(training_input, pool, speed, probing=time.probing)
    final = max((time.repeated - 1 + candidate.fits) * candidate.seconds for candidate in candidates)
    each = sum(candidate.seconds for candidate in candidates)
    left = time.ends - clock.now()
    folds = next((number for number in _FOLDS if (number - 1) * each + final <= _MARGIN * left), None)
    if folds is None:
        needed = ((_FOLDS[0] - 1) * each + final) / _MARGIN
        return (
            f"The time limit of {time.limit:g} s is too short to compare contrastive training with other ways to train on few rows. "
            f"Set training.time_limit: {time.suggested((needed - left) / time.repeated):.0f} to compare them."
        )
    scores = _cross_validate(training_input, pool, fit, candidates, divided(pool, training_input.task, folds))
    return _best(training_input.task, scores, len(pool), folds)


def _candidates(training_input: TrainingInput, pool: Examples, speed: auto.StepTimes, probing: float) -> list[Candidate]:
    """Return the goals to compare, the cheapest first, with the estimated seconds of each on the rows of `pool`."""
    tokens, rows = int(pool.costs.sum()), len(pool)
    epochs = defaults.epochs(training_input.config, rows)
    load = auto.Workload(tokens, steps_of(training_input.config, rows, 1))
    contrasting = contrastive.EPOCHS * (tokens * speed.full + speed.update)
    everything = method_that_moves("all")
    contrastively = TrainingGoal(everything, contrastive.EPOCHS, objective="contrastive")
    return [
        Candidate("probe", TrainingGoal(method_that_moves("head"), 0.0), probing),
        Candidate("fine-tuning", TrainingGoal(everything, epochs), probing + epochs * load.passing(speed, 1.0)),
        Candidate("contrastive", contrastively, probing + contrasting, contrastive.FITS),
    ]


def divided(pool: Examples, task: Task, folds: int) -> list[NDArray[np.int64]]:
    """Divide the rows into folds with about the same proportions of targets; return the row indices of each fold.

    Rows with equal inputs are in the same fold. The division depends only on the rows and their order.
    """
    inputs, targets = ([column.name for column in columns] for columns in (task.input_columns, task.target_columns))
    groups: dict[str, list[int]] = {}
    for row, record in enumerate(pool.records):
        groups.setdefault(repr([record.get(name) for name in inputs]), []).append(row)
    members = list(groups.values())
    shuffled = np.random.default_rng(0).permutation(len(members))
    order = sorted(shuffled, key=lambda group: repr([pool.records[members[group][0]].get(name) for name in targets]))
    parts = [[row for group in order[fold::folds] for row in members[group]] for fold in range(folds)]
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts if part]


def _cross_validate(
    training_input: TrainingInput, pool: Examples, fit: Fit, candidates: Sequence[Candidate], parts: Sequence[NDArray[np.int64]]
) -> list[Score]:
    """Train each candidate without each of the parts in turn, and score its outputs for the rows of all parts together."""
    outputs: list[list[NDArray[Any]]] = [[] for _ in candidates]
    seconds = [0.0 for _ in candidates]
    for number, held in enumerate(parts):
        others = pool.subset(np.setdiff1d(np.arange(len(pool)), held))
        others = others.joined(training_input.described) if training_input.described else others
        for index, candidate in enumerate(candidates):
            done, of = number * len(candidates) + index, len(parts) * len(candidates)
            training_input.progress("comparing", step=done, steps=of, name=candidate.name)
            started = clock.now()
            outputs[index] += fit(candidate.goal, replace(training_input, examples=others), pool.subset(held))
            seconds[index] += clock.now() - started
    rows = pool.subset(np.concatenate(parts))
    return [
        Score(candidate, *_scored(training_input.task, rows, raw), seconds=spent)
        for candidate, raw, spent in zip(candidates, outputs, seconds, strict=True)
    ]


def _scored(task: Task, rows: Examples, raw: list[NDArray[Any]]) -> tuple[float, float]:
    """Return the main metric and the mean loss of outputs for the features (model inputs) of `rows`."""
    metric = decoded(task, rows, raw).metrics[task.goal]
    losses = task.loss(torch.from_numpy(np.stack(raw)).float(), rows.target(range(len(raw))))
    return metric, float(losses.mean())


def _best(task: Task, scores: Sequence[Score], rows: int, folds: int) -> TrainingGoal:
    """Return the goal of the best candidate: by the main metric, then by the loss, then by the time that it takes."""

    def rank(score: Score) -> tuple[float, float, float]:
        finite = score.metric if math.isfinite(score.metric) else -task.goal_sign * math.inf
        return task.goal_sign * finite, -score.loss, -score.candidate.seconds

    best = max(scores, key=rank)
    listed = ", ".join(f"{score.candidate.name} {score.metric:.3f}" for score in sorted(scores, key=rank, reverse=True))
    why = f"of {len(scores)} candidates, {best.candidate.name} had the best {task.goal} in {folds} folds of {rows} rows ({listed})"
    table = [
        {"name": score.candidate.name, task.goal: score.metric, "loss": score.loss, "seconds": round(score.seconds, 1)} for score in scores
    ]
    return replace(best.candidate.goal, why=why, candidates=table)
