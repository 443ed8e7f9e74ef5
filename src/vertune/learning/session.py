"""Runs one whole training, from encoding the records to retraining on all labelled rows.

The steps in between are the linear probe, the choice of the method, the training loop, and the calibration of
thresholds. This module does not depend on how models and reports are stored.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vertune.core.artifact import Progress
from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.kinds import Method, Tokens, method_that_moves
from vertune.core.records import Record
from vertune.learning import auto, choice, clock, companion, contrastive, defaults, descriptions, few, probe, racing
from vertune.learning.cache import CachedStates, TrunkCache, around
from vertune.learning.choice import TimeLimit, TrainingGoal
from vertune.learning.examples import Examples, encode
from vertune.learning.gradients import StepGradients
from vertune.learning.held_out import HeldOutPredictions, decoded, intervals, is_worse, predict
from vertune.learning.loop import LoopResult, Plan, accelerator, run_loop, steps_of
from vertune.learning.threads import use_threads
from vertune.learning.training_data import WAY_FOLDERS
from vertune.learning.training_data import TrainingData as TrainingData
from vertune.learning.training_data import TrainingFolders as TrainingFolders
from vertune.learning.training_data import TrainingOutcome as TrainingOutcome
from vertune.learning.training_input import Score, TrainingInput
from vertune.learning.tried import PROBE, Tried, stored
from vertune.lexical.companion import WordModel
from vertune.lexical.tagging import UnitModel
from vertune.nn.build import build, trainable
from vertune.nn.run import outputs
from vertune.nn.structure import count, head_parameters
from vertune.nn.vertical import VerticalModel

FEW_ROWS = 2000
"""Largest number of labelled rows for which `refit: auto` retrains on all of them, validation rows included."""
_ENDING = 2.0
"""Seconds reserved for saving the model, loading it again, and comparing the loaded model with the original."""


def train(config: Config, data: TrainingData, folders: TrainingFolders, progress: Progress) -> TrainingOutcome:
    """Train the model that the config describes; if an earlier run in the same folder was killed, resume it.

    If the validation records were split off the training rows and `training.refit` allows it, the model is trained once
    more on all labelled rows.
    """
    threads = use_threads(config.device.threads)
    training_input = _training_input(config, data, folders, progress)
    if config.training.objective == "contrastive":
        contrastive.check(training_input)
    held_out = _encoded(config, data.validation, data.columns, data.validation_tokens) if data.validation else None
    refit = bool(held_out) and _worth_a_refit(config, data)
    pool = training_input.examples.joined(held_out) if held_out and data.cut else training_input.examples
    training_input, described = descriptions.chosen(training_input, pool, data.columns, _build)
    result = _train_first(training_input, held_out, threads, refit, pool)
    result.chosen |= {"descriptions": described} if described else {}
    if refit or "folds" in result.chosen or (held_out and result.solved and data.cut and config.training.refit == "auto"):
        together = data.together
        progress("refit", rows=len(together.train))
        again = _training_input(result.config, together, folders, progress)
        again.folder, again.deadline = folders.folder / "refit", training_input.deadline
        again = descriptions.added(again, training_input.described) if training_input.described else again
        final = _train_on_all(again, result)
        if final is not None:
            result = replace(final, chosen={**final.chosen, "refit": again.rows} if data.validation else final.chosen)
    return result


def remove_checkpoints(folder: Path) -> None:
    """Remove the files from which a training run would resume, once its model is saved.

    These are the checkpoints, also those of the ways to train on from an earlier model, choice.json with the method and the
    number of epochs that were chosen, and what the candidates of a comparison predicted.
    """
    interrupted = folder.glob(".checkpoint.*")  # while they were written
    for path in (folder / "refit", folder / WAY_FOLDERS, *folder.glob("checkpoint"), *interrupted):
        shutil.rmtree(path, ignore_errors=True)
    for name in ("choice.json", few.FILE):
        (folder / name).unlink(missing_ok=True)


def _encoded(config: Config, records: Sequence[Record], columns: Sequence[str], tokens: Tokens | None) -> Examples:
    return encode(records, config.task, config.encoder, config.task.views(columns), tokens)


def _training_input(config: Config, data: TrainingData, folders: TrainingFolders, progress: Progress) -> TrainingInput:
    """Encode the training records, and return them with the other inputs of the training loop."""
    examples = _encoded(config, data.train, data.columns, data.train_tokens).weighted(data.trust)
    cache = TrunkCache(folders.cache, config, accelerator(config), progress) if folders.cache else None
    training_input = TrainingInput(
        config, config.task, config.encoder, examples, score=None, progress=progress, folder=folders.folder, cache=cache
    )
    limit = seconds_allowed(config)
    training_input.deadline = folders.started + limit if limit else None
    return training_input


@dataclass(slots=True)
class _Start:
    """A model before training.

    If possible, its head is already fitted on the outputs of the unchanged base model (a linear probe).
    """

    model: VerticalModel
    solution: probe.ProbeSolution | None
    below: CachedStates | None
    """Cached outputs of the layers that the method does not train; None without a cache."""

    @property
    def fallback(self) -> str | None:
        """What messages call this model if it is kept without further training, such as `the linear probe`.

        It is None if the model can't predict, because its head is random.
        """
        if self.solution:
            return "the linear probe"
        return None if head_parameters(self.model) else "the unchanged base model"


def _build(training_input: TrainingInput) -> VerticalModel:
    """Build the model; new weights are random and depend only on the config's seed."""
    torch.manual_seed(training_input.config.seed)
    model = build(training_input.encoder, training_input.task)
    return model.to(accelerator(training_input.config).device)


def _announce_memory(training_input: TrainingInput, model: VerticalModel) -> None:
    """Report how much memory the training takes at most, and how many tokens fit in one pass, before it starts."""
    gradients = StepGradients.of(model, training_input, accelerator(training_input.config), None)
    parts = gradients.parts(np.arange(len(training_input.examples.features)))
    costs = training_input.examples.costs
    tokens = max(int(costs[part].max()) * len(part) for part in parts)
    estimate = gradients.memory.peak(parts, costs)
    training_input.progress("memory", gigabytes=estimate / 1e9, allowed=gradients.memory.allowed / 1e9, tokens=tokens)


def _initialise(training_input: TrainingInput, model: VerticalModel, solve: bool, method: Method | None) -> _Start:
    """Return a new model as the start of a training.

    If `solve` is true and the head is linear, the head is fitted as a linear probe. `method` is the method to train
    with, if it is known; the outputs of the layers that it does not train are then cached.
    """
    below = _below(training_input, model, training_input.examples, method) if method else None
    if not solve or not probe.solvable(model, training_input.task, training_input.examples):
        return _Start(model, None, below)
    started = time.perf_counter()
    frozen = probe.freeze(model, training_input, below)
    follows = method is None or not _head_alone(method, model)
    solution = probe.solve(frozen, training_input.task, training_input.task.size, follows=follows)
    solution.copy_to(model.head)
    training_input.progress(
        "solved", seconds=round(time.perf_counter() - started, 2), looseness=solution.inverse_regularisation, loss=solution.loss
    )
    return _Start(model, solution, below)


def _head_alone(method: Method, model: VerticalModel) -> bool:
    """Return whether the method trains only the head (the last layer) of this model."""
    layers = count(model.backbone)
    return method.depth(layers) > layers


def _below(training_input: TrainingInput, model: VerticalModel, examples: Examples, method: Method) -> CachedStates | None:
    """Return the outputs of the layers that this method does not train, from the cache; missing ones are computed first.

    Return None if there is no cache, or if the method trains all layers.
    """
    depth = method.depth(count(model.backbone))
    return training_input.cache.recall(model, depth, examples.features) if training_input.cache and depth > 1 else None


def _train_first(training_input: TrainingInput, held_out: Examples | None, threads: int, refit: bool, pool: Examples) -> TrainingOutcome:
    """Train on the training rows, without the validation rows, and return the model with its validation metrics.

    `held_out` contains the encoded validation rows. With `method: auto`, the trained model is kept unless it is clearly
    worse on them than the model before training. `refit` is whether training is to be repeated on all labelled rows,
    for which time is reserved. `pool` contains the labelled rows on which candidates are compared.
    """
    config = training_input.config
    started, tried = clock.now(), Tried(config.seed)
    solve = config.training.start != "random"
    model = _build(training_input)
    _announce_memory(training_input, model)
    start = _initialise(training_input, model, solve, None if config.method == "auto" else config.method)
    if config.training.start == "probe" and start.solution is None:
        raise ConfigError(
            "The setting 'training.start: probe' fits the head (the last layer) as a linear model, which is impossible for the task "
            f"'{training_input.task.name}' with this pooling. Set training.start: auto."
        )
    words = tried.fit_words(training_input, held_out)
    probed = clock.now()
    before = predict(start.model, training_input, held_out) if held_out and start.fallback else None
    chosen: dict[str, Any] = {"start": "probe" if start.solution else "random"}
    limit = _time_limit(training_input, held_out, (probed - started, clock.now() - probed), refit)
    if start.solution and before:
        chosen["solved_head"] = {training_input.task.goal: before.metrics[training_input.task.goal]}
        tried.add(PROBE, before, tried.seconds() - tried.counting, head_parameters(start.model))
    goal = _goal(training_input, start, held_out, limit, pool)
    chosen |= {"why": goal.why} if goal.why else {}
    if goal.folds and (refit or not held_out):
        return _validated_in_folds(training_input, start, goal, pool, _Findings(chosen, tried, words, threads))
    trained, loop_result = _train(start, goal, training_input, held_out)
    warnings, shortened = [goal.warning] if goal.warning else [], goal.shortened
    if loop_result and loop_result.late and limit:
        warnings, shortened = [choice.stopped(limit, loop_result, _steps(training_input, goal))], True
    after = predict(start.model, training_input, held_out) if held_out and (loop_result or not before) else before
    if after and after is not before:
        tried.add(goal.method.name, after, tried.seconds() - tried.counting, trainable(start.model))
    sure = bool(goal.candidates) and not (loop_result and loop_result.late)  # the comparison had more rows than are held out here
    if loop_result and before and after and not sure and _is_beaten(config, after, before, shortened):
        chosen["why"] += f"; on validation, the trained model was worse than {start.fallback}, which is kept"
        warnings += [f"On the validation rows, what was trained was worse than {start.fallback}, which is kept."] if shortened else []
        goal, after = TrainingGoal(method_that_moves("head"), 0.0), before
        start = _initialise(training_input, _build(training_input), solve, goal.method)
        trained, loop_result = _train(start, goal, training_input, None)
    _warn(training_input, chosen, warnings)
    chosen |= _facts(goal, loop_result, tried.seconds())
    findings = _Findings(chosen, tried, words, threads, trained=trained, solved=start.solution is not None and not loop_result)
    return _outcome(training_input, start, goal, (held_out, after) if held_out and after else None, findings)


@dataclass(slots=True)
class _Findings:
    """What a training found out and chose."""

    chosen: dict[str, Any]
    tried: Tried
    words: WordModel | UnitModel | None
    threads: int
    trained: int = 0
    solved: bool = False
    """Whether only a linear head was fitted."""
    kept: str | None = None
    """The candidate that became the model; None for the method of the goal."""


def _validated_in_folds(
    training_input: TrainingInput, start: _Start, goal: TrainingGoal, pool: Examples, findings: _Findings
) -> TrainingOutcome:
    """Return the outcome of a comparison in folds of `pool`; the model is trained afterwards, on all rows.

    Metrics, thresholds and the companion are those of the best candidate's predictions for the held-out rows.
    """
    folds, raw = few.validated(training_input, pool, goal)
    rows = pool.subset(np.concatenate(folds))
    best = next(entry for entry in goal.candidates if entry["kept"])
    found = decoded(training_input.task, rows, raw, best["milliseconds"] * len(rows) / 1000)
    findings.kept, findings.tried.entries = best["name"], list(goal.candidates)
    findings.words = companion.fit_in_folds(training_input, pool, folds)
    _warn(training_input, findings.chosen, [goal.warning] if goal.warning else [])
    findings.chosen |= _facts(replace(goal, candidates=[]), None, findings.tried.seconds()) | {"folds": goal.folds}
    return _outcome(training_input, start, goal, (rows, found), findings)


def _outcome(
    training_input: TrainingInput, start: _Start, goal: TrainingGoal, held: tuple[Examples, HeldOutPredictions] | None, findings: _Findings
) -> TrainingOutcome:
    """Return the outcome of a training to the goal, with a companion learnt on the held-out examples and the predictions for them."""
    config, task, chosen = training_input.config, training_input.task, findings.chosen
    after = held[1] if held else None
    learnt = companion.learn(findings.words, training_input, *held) if held else None
    if learnt:
        after, chosen["companion"] = learnt.mixed, learnt.figures
        training_input.progress("companion", **learnt.figures)
    chosen["tried"] = findings.tried.finish(findings.kept or goal.method.name, findings.words, learnt)
    metrics, ends = (after.metrics, intervals(after, config.seed)) if after else ({}, {})
    settings = config.training.model_copy(update={"objective": goal.objective})
    trained_config = config.model_copy(update={"method": goal.method, "task": after.task if after else task, "training": settings})
    return TrainingOutcome(
        start.model, trained_config, metrics=metrics, intervals=ends, chosen=chosen, trained=findings.trained, threads=findings.threads,
        solved=findings.solved, companion=learnt.companion if learnt else None,
    )  # fmt: skip


def _facts(goal: TrainingGoal, loop_result: LoopResult | None, seconds: float) -> dict[str, Any]:
    """Return what was trained and how long it took, for the report."""
    facts: dict[str, Any] = {"candidates": goal.candidates} if goal.candidates else {}
    facts |= {"objective": goal.objective, "method": goal.method.name, "epochs": round(goal.epochs, 3), "seconds": round(seconds, 1)}
    if loop_result is None:
        return facts
    speed = round(loop_result.examples_per_second, 1)
    return facts | {"steps": loop_result.steps, "best_step": loop_result.position.best_step, "examples_per_second": speed}


def _time_limit(training_input: TrainingInput, held_out: Examples | None, spent: tuple[float, float], refit: bool) -> TimeLimit | None:
    """Return the time that is left for the training loop; None if there is no limit.

    `spent` contains the seconds that the linear probe took, and those of its predictions for the validation rows, which
    are repeated at the end. If `refit` is true, time is reserved to repeat all on all labelled rows.
    """
    if training_input.deadline is None:
        return None
    limit = seconds_allowed(training_input.config)
    assert limit is not None
    ends = training_input.deadline - spent[1] - _ENDING
    if not refit:
        return TimeLimit(limit, ends)
    more = len(held_out or ()) / max(1, len(training_input.examples))  # the second training has more rows
    return TimeLimit(limit, ends, spent[0], 2 + more)


def seconds_allowed(config: Config) -> float | None:
    """Return the configured time limit, or for `method: auto` its default; None if there is no limit."""
    return config.training.time_limit or (auto.CPU_LIMIT if config.method == "auto" else None)


def _goal(training_input: TrainingInput, start: _Start, held_out: Examples | None, limit: TimeLimit | None, pool: Examples) -> TrainingGoal:
    """Return the method and the number of epochs to train: those of the config, or those that fit in the time limit.

    `pool` contains the labelled rows on which candidates are compared if there are few.
    """
    objective = training_input.config.training.objective
    asked = contrastive.prepared(training_input) if objective == "contrastive" else training_input
    if limit is not None:
        compare = partial(few.compare, training_input, pool, _fit) if start.solution and few.applies(training_input, pool) else None
        return choice.decide(asked, start.model, held_out, limit, fallback=start.fallback, compare=compare)
    assert isinstance(training_input.config.method, Method)  # auto has a time limit
    return choice.unlimited(asked, training_input.config.method)


def _fit(goal: TrainingGoal, training_input: TrainingInput, held_out: Examples) -> racing.Outputs:
    """Train a new model for a goal, without traces on disk and in the events; return its outputs for other examples."""
    quiet = replace(training_input, progress=lambda kind, **fields: None, folder=None, cache=None)
    start = _initialise(quiet, _build(quiet), goal.objective == "labels", goal.method)
    _train(start, goal, quiet, None)
    size, started = stored(trainable(start.model)), time.perf_counter()
    found = outputs(start.model, quiet.encoder, held_out.features, quiet.config.device.tokens)
    return racing.Outputs(found, time.perf_counter() - started, size)


def _steps(training_input: TrainingInput, goal: TrainingGoal) -> int:
    """Return the number of optimiser steps of a goal, 0 if nothing is trained."""
    used = contrastive.prepared(training_input) if goal.objective == "contrastive" else training_input
    return steps_of(used.config, len(used.examples), goal.epochs) if goal.epochs else 0


def _is_beaten(config: Config, after: HeldOutPredictions, before: HeldOutPredictions, shortened: bool) -> bool:
    """Return whether the model before training is kept instead of the trained one.

    If the time limit shortened the training, the better one on validation is kept. Otherwise, the trained model is
    kept; with `method: auto`, it is given up if it is clearly worse.
    """
    task = after.task
    if shortened:
        return (after.metrics[task.goal] - before.metrics[task.goal]) * task.goal_sign < 0
    return config.method == "auto" and is_worse(task, after.units, before.units)


def _warn(training_input: TrainingInput, chosen: dict[str, Any], warnings: Sequence[str]) -> None:
    """Report warnings as events, and add them to `chosen`, from which the report and the model card read them."""
    for message in warnings:
        training_input.progress("warning", message=message)
    if warnings:
        chosen["warnings"] = [*chosen.get("warnings", []), *warnings]


def _train(start: _Start, goal: TrainingGoal, training_input: TrainingInput, held_out: Examples | None) -> tuple[int, LoopResult | None]:
    """Train the model of `start`; return the number of trainable weights and the result of the training loop.

    The result is None if no training loop is needed: if no weights are trained, or only those of the head, which is
    already fitted.
    """
    model, method = start.model, goal.method
    steps, contrasts = _steps(training_input, goal), goal.objective == "contrastive"
    if not steps and not head_parameters(model):
        return 0, None
    fitted = start.solution is not None and _head_alone(method, model)
    below = start.below if fitted or not steps else start.below or _below(training_input, model, training_input.examples, method)
    score = _score(model, training_input, held_out, method) if held_out and steps and not (fitted or contrasts) else None
    torch.manual_seed(training_input.config.seed)
    method.prepare(model, training_input.task, steps)
    parameters = trainable(model)
    trained = sum(parameter.numel() for parameter in parameters.values())
    if fitted or not steps or not parameters:
        return trained, None
    if start.solution:
        start.solution.copy_to(model.head, for_training=True)
    rates = defaults.rates(training_input.config, method, (model.width, start.solution is not None), len(training_input.examples))
    training_input.progress("training", method=method.name, steps=steps, rows=training_input.rows, parameters=trained, rate=rates.body)
    checkpoints = training_input.folder / "checkpoint" if training_input.folder else None
    loop_input = replace(training_input, folder=checkpoints, below=below, score=score)
    if not contrasts:
        return trained, run_loop(model, Plan(method, rates, steps, goal.epochs, goal.seconds), loop_input)
    result = run_loop(model, Plan(method, contrastive.rates(rates), steps, goal.epochs, goal.seconds), contrastive.prepared(loop_input))
    contrastive.fit_head(model, training_input)
    return trained, result


def _score(model: VerticalModel, training_input: TrainingInput, held_out: Examples, method: Method) -> Score:
    """Return a function that computes the main metric on held-out examples during training, negated if lower is better.

    For speed, it uses the precision of training, and cached outputs of the layers that are not trained.
    """
    below = _below(training_input, model, held_out, method) if training_input.config.training.evaluations else None
    within = partial(around, accelerator(training_input.config), below)
    return lambda: predict(model, training_input, held_out, within).metrics[training_input.task.goal] * training_input.task.goal_sign


def _train_on_all(training_input: TrainingInput, result: TrainingOutcome) -> TrainingOutcome | None:
    """Train with the method and number of epochs of `result`, but on all labelled rows; return the new result.

    If the time limit ends this training before its last epoch, return None, or, if there is no earlier model, the result so far.
    """
    method, epochs = result.config.method, result.chosen["epochs"]
    assert isinstance(method, Method)
    start = _initialise(training_input, _build(training_input), result.chosen["start"] == "probe", method)
    left = max(1.0, training_input.deadline - clock.now() - _ENDING) if training_input.deadline is not None else None
    goal = TrainingGoal(method, epochs, left, objective=result.chosen["objective"])
    trained, loop_result = _train(start, goal, training_input, None)
    chosen = result.chosen
    if loop_result and loop_result.late:
        if "folds" not in chosen:
            message = "The time limit was reached before the retraining on all labelled rows ended, so the first model is kept."
            _warn(training_input, chosen, [f"{message} Raise training.time_limit, or set training.refit: never."])
            return None
        message = "The time limit ended the training early, so the model is worse than what was measured by cross-validation."
        _warn(training_input, chosen, [f"{message} Raise training.time_limit."])
    words = companion.refit(result.companion, training_input.task, training_input.examples.records, training_input.examples.features)
    return replace(result, model=start.model, trained=trained, companion=words)


def _worth_a_refit(config: Config, data: TrainingData) -> bool:
    """Return whether to train again on all labelled rows, validation rows included, once the model is validated.

    This is done only if the validation rows were split off the training rows. With `training.refit: auto`, there must
    be at most 2,000 labelled rows.
    """
    if not data.cut:
        return False
    few = len(data.train) + len(data.validation) <= FEW_ROWS
    return config.training.refit == "always" or (config.training.refit == "auto" and few)
