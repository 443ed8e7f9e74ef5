"""Chooses how to train on few labelled rows: compares candidates by cross-validation within the time limit.

The candidates are the linear probe, the contrastive objective, and fine-tuning with the loss of the task. On few rows no
single one is best: it depends on whether the pretrained states already separate the classes. The held-out rows of all
folds are scored together (`racing.py`). What the best candidate predicted for them stands for validation records, because any
that were set aside would be even fewer. This module does not depend on how a candidate is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from vertune.core.kinds import Task, method_that_moves
from vertune.learning import auto, clock, contrastive, defaults, racing, team
from vertune.learning.choice import TimeLimit, TrainingGoal
from vertune.learning.examples import Examples
from vertune.learning.loop import steps_of
from vertune.learning.racing import Candidate, Fit, Score
from vertune.learning.training_input import TrainingInput

ROWS_PER_LABEL = 64
"""Largest mean number of labelled rows per label for which candidates are compared."""
ROWS = 2000
"""Largest number of labelled rows for which candidates are compared."""
_FEWEST_ROWS = 10
"""Smallest number of labelled rows for which candidates are compared."""
_FOLDS = (3, 2)
"""Numbers of folds to try, the best first, until the comparison fits in the time."""
_SURELY_CONTRASTIVE = 200
"""Largest number of rows for which contrastive training is chosen if there is time for it, but not to compare it."""
_MARGIN = 0.85
"""Fraction of the remaining time that the comparison and the trainings after it may be planned to use."""

FILE = "folds.safetensors"
"""Name of the file with the outputs of the best candidate for the held-out rows, in the folder of the run."""


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
    scores = racing.race(training_input, pool, fit, candidates, divided(pool, training_input.task, folds))
    chosen = racing.best(scores)
    if training_input.folder:
        save_file({"outputs": np.stack(chosen.found.outputs)}, training_input.folder / FILE)
    return replace(_goal(scores, chosen, training_input.config.seed, rows=len(pool), folds=folds), warning=warning)


def _needed(candidates: Sequence[Candidate], folds: int) -> float:
    """Return how many seconds a comparison in so many folds, and the training of the slowest candidate after it, are expected to take."""
    return (folds - 1) * sum(candidate.seconds for candidate in candidates) + max(candidate.seconds for candidate in candidates)


def _folds(candidates: Sequence[Candidate], allowed: float) -> int | None:
    """Return the largest number of folds in which these candidates can be compared in `allowed` seconds; None if there is none."""
    return next((number for number in _FOLDS if _needed(candidates, number) <= allowed), None)


def validated(training_input: TrainingInput, pool: Examples, goal: TrainingGoal) -> tuple[list[NDArray[np.int64]], list[NDArray[Any]]]:
    """Return the rows of `pool` that the best candidate predicted without having seen them, fold by fold, and its stored outputs."""
    assert training_input.folder is not None
    (folds,) = (entry["folds"] for entry in goal.candidates if entry["kept"])
    outputs = load_file(training_input.folder / FILE)["outputs"]
    return divided(pool, training_input.task, goal.folds)[:folds], list(outputs)


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


def _goal(scores: Sequence[Score], chosen: Score, seed: int, *, rows: int, folds: int) -> TrainingGoal:
    """Return the goal of the candidate that was chosen, with the scores of all as its reason."""
    ordered = sorted(scores, key=lambda score: score.rank, reverse=True)
    listed = ", ".join(_described(score, chosen.folds) for score in ordered)
    where = f"{folds} folds of {rows} rows" if chosen.folds == folds else f"{chosen.folds} of {folds} folds of {rows} rows"
    why = f"of {len(scores)} candidates, {chosen.candidate.name} {_about(scores, chosen)} in {where} ({listed})"
    table = [score.described(seed, kept=score is chosen) for score in scores]
    return replace(chosen.candidate.goal, why=why, candidates=table, folds=folds)


def _described(score: Score, folds: int) -> str:
    """Return the name and the main metric of a candidate, and when it left the race."""
    left = f" after {score.folds}" if score.folds < folds else ""
    return f"{score.candidate.name} {score.metric:.3f}{left}"


def _about(scores: Sequence[Score], chosen: Score) -> str:
    """Return why a candidate was chosen, as a predicate."""
    goal = chosen.found.task.goal
    others = [score for score in scores if score is not chosen and not score.out]
    if all(chosen.gain >= score.gain for score in others):
        return f"had the best {goal}"
    if all((chosen.loss or 0.0) <= (score.loss or 0.0) for score in others):
        return f"had the best log-loss, and none had a clearly better {goal}"
    return f"is usually the best, and none was clearly better in {goal} or log-loss"
