"""Chooses how to train on few labelled rows: compares candidates by cross-validation within the time limit.

The candidates are the linear probe, the contrastive objective, and fine-tuning with the loss of the task. On few rows no
single one is best: it depends on whether the pretrained states already separate the classes. The held-out rows of all
folds are scored together. What the best candidate predicted for them stands for validation records, because any that
were set aside would be even fewer. This module does not depend on how a candidate is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from vertune.core.kinds import Task, method_that_moves
from vertune.learning import auto, clock, contrastive, defaults, team
from vertune.learning.choice import TimeLimit, TrainingGoal
from vertune.learning.examples import Examples
from vertune.learning.held_out import HeldOutPredictions, decoded, is_worse
from vertune.learning.loop import steps_of
from vertune.learning.training_input import TrainingInput
from vertune.learning.tried import entry

ROWS_PER_LABEL = 64
"""Largest mean number of labelled rows per label for which candidates are compared."""
ROWS = 2000
"""Largest number of labelled rows for which candidates are compared."""
_FEWEST_ROWS = 10
"""Smallest number of labelled rows for which candidates are compared."""
_FOLDS = (5, 3, 2)
"""Numbers of folds to try, the best first, until the comparison fits in the time."""
_SURELY_CONTRASTIVE = 200
"""Largest number of rows for which contrastive training is chosen if there is time for it, but not to compare it."""
_MARGIN = 0.85
"""Fraction of the remaining time that the comparison and the trainings after it may be planned to use."""

FILE = "folds.safetensors"
"""Name of the file with the outputs of the best candidate for the held-out rows, in the folder of the run."""


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
    """The predictions for the held-out rows of all folds."""
    loss: float
    """Mean loss of the task over the same rows."""
    seconds: float
    """Seconds that all folds took."""
    bytes: int
    """The size of the trained weights."""

    @property
    def metric(self) -> float:
        """The task's main metric over the held-out rows."""
        return self.found.metrics[self.found.task.goal]


def applies(training_input: TrainingInput, pool: Examples) -> bool:
    """Return whether candidates are compared: with `method: auto`, and few rows of a task whose targets can be compared.

    `pool` contains all labelled rows that the model may be trained on.
    """
    config, task = training_input.config, training_input.task
    free = config.method == "auto" and config.training.objective == "auto" and config.training.epochs == "auto"
    few = _FEWEST_ROWS <= len(pool) <= min(ROWS, ROWS_PER_LABEL * task.size)
    return free and few and task.compares_targets and config.encoder.pretrained and team.size() == 1


def compare(training_input: TrainingInput, pool: Examples, fit: Fit, speed: auto.StepTimes, time: TimeLimit) -> TrainingGoal | str:
    """Return the goal with the best score in a cross-validation on the rows of `pool`; store its outputs for the held-out rows.

    With little time, there are fewer folds, and then fewer candidates. If there is no time to compare anything, return a sentence
    about what a longer limit would allow.
    """
    candidates = _candidates(training_input, pool, speed, probing=time.probing)
    allowed = _MARGIN * (time.ends - clock.now())
    alone = candidates[-1]
    folds = _folds(candidates, allowed)
    warning = None
    if folds is None:
        missing = (_needed(candidates, _FOLDS[0]) - allowed) / _MARGIN
        warning = (
            f"The time limit of {time.limit:g} s is too short to compare contrastive training with other ways to train on few rows. "
            f"Set training.time_limit: {time.suggested(missing / time.repeated):.0f} to compare them."
        )
        if len(pool) <= _SURELY_CONTRASTIVE and alone.seconds * time.repeated <= allowed:
            why = "the objective that is usually the best on so few rows, without a comparison"
            return replace(alone.goal, why=why, warning=warning)
        candidates = candidates[:-1]
        folds = _folds(candidates, allowed)
        if folds is None:
            return warning
    scores = _cross_validate(training_input, pool, fit, candidates, divided(pool, training_input.task, folds))
    chosen = _best(scores)
    if training_input.folder:
        save_file({"outputs": np.stack(chosen.found.outputs)}, training_input.folder / FILE)
    return replace(_goal(scores, chosen, training_input.config.seed, rows=len(pool), folds=folds), warning=warning)


def _needed(candidates: Sequence[Candidate], folds: int) -> float:
    """Return how many seconds a comparison in so many folds, and the training of the slowest candidate after it, are expected to take."""
    return (folds - 1) * sum(candidate.seconds for candidate in candidates) + max(candidate.seconds for candidate in candidates)


def _folds(candidates: Sequence[Candidate], allowed: float) -> int | None:
    """Return the largest number of folds in which these candidates can be compared in `allowed` seconds; None if there is none."""
    return next((number for number in _FOLDS if _needed(candidates, number) <= allowed), None)


def validated(training_input: TrainingInput, pool: Examples, folds: int) -> tuple[Examples, list[NDArray[Any]]]:
    """Return the rows of `pool` in the order in which they were held out, and the stored outputs of the best candidate for them."""
    assert training_input.folder is not None
    outputs = load_file(training_input.folder / FILE)["outputs"]
    return pool.subset(np.concatenate(divided(pool, training_input.task, folds))), list(outputs)


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
        Candidate("contrastive", contrastively, probing + contrasting),
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
    outputs: list[list[Outputs]] = [[] for _ in candidates]
    seconds = [0.0 for _ in candidates]
    for number, held in enumerate(parts):
        others = training_input.without(pool, held)
        for index, candidate in enumerate(candidates):
            done, of = number * len(candidates) + index, len(parts) * len(candidates)
            training_input.progress("comparing", step=done, steps=of, name=candidate.name)
            started = clock.now()
            outputs[index].append(fit(candidate.goal, replace(training_input, examples=others), pool.subset(held)))
            seconds[index] += clock.now() - started
    rows = pool.subset(np.concatenate(parts))
    return [
        _scored(training_input.task, rows, candidate, found, spent)
        for candidate, found, spent in zip(candidates, outputs, seconds, strict=True)
    ]


def _scored(task: Task, rows: Examples, candidate: Candidate, outputs: Sequence[Outputs], seconds: float) -> Score:
    """Return the score of a candidate, from its outputs for the features (model inputs) of `rows`, fold by fold."""
    raw = [value for fold in outputs for value in fold.values]
    losses = task.loss(torch.from_numpy(np.stack(raw)).float(), rows.target(range(len(raw))))
    found = decoded(task, rows, raw, sum(fold.seconds for fold in outputs))
    return Score(candidate, found, float(losses.mean()), seconds, max(fold.bytes for fold in outputs))


def _rank(score: Score) -> tuple[float, float, float]:
    """Return what candidates are compared by: the main metric, then the loss, then the time; more is better."""
    sign = score.found.task.goal_sign
    finite = score.metric if math.isfinite(score.metric) else -sign * math.inf
    return sign * finite, -score.loss, -score.candidate.seconds


def _best(scores: Sequence[Score]) -> Score:
    """Return the score of the last candidate than which none is better by more than one standard error of the difference.

    A smaller difference means little on a few dozen rows, and what trains more layers, and compares rows, is usually better on others.
    """
    best = max(scores, key=_rank)
    comparable = [score for score in scores if math.isfinite(score.metric)]
    near = (score for score in reversed(comparable) if not is_worse(score.found.task, score.found.tally, best.found.tally))
    return next(near, best)


def _goal(scores: Sequence[Score], best: Score, seed: int, *, rows: int, folds: int) -> TrainingGoal:
    """Return the goal of the best candidate, with the scores of all as its reason."""
    listed = ", ".join(f"{score.candidate.name} {score.metric:.3f}" for score in sorted(scores, key=_rank, reverse=True))
    goal = best.found.task.goal
    leads = max(scores, key=_rank) is best
    about = f"had the best {goal}" if leads else f"is usually the best, and none had a clearly better {goal}"
    why = f"of {len(scores)} candidates, {best.candidate.name} {about} in {folds} folds of {rows} rows ({listed})"
    table = [
        {**entry(score.candidate.name, score.found, (score.seconds, score.bytes), seed), "loss": score.loss, "kept": score is best}
        for score in scores
    ]
    return replace(best.candidate.goal, why=why, candidates=table, folds=folds)
