"""One whole training: encode, solve the head, choose, learn, calibrate, refit; knows nothing of artifacts or reports."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from vertune.core.artifact import Progress
from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.files import read_json, write_json
from vertune.core.kinds import Method, Task, Tokens, method_that_moves
from vertune.core.parse import build as parse
from vertune.core.records import Answer, Record
from vertune.learning import auto, defaults, probe, team
from vertune.learning.cache import CachedStates, TrunkCache, around
from vertune.learning.examples import Examples, encode
from vertune.learning.loop import LoopResult, Plan, Score, TrainingInput, accelerator, run_loop, steps_of
from vertune.learning.threads import use_threads
from vertune.metrics import bootstrap
from vertune.nn.build import build, trainable
from vertune.nn.run import Around, outputs
from vertune.nn.structure import count, head_parameters
from vertune.nn.vertical import VerticalModel

FEW_ROWS = 2000
"""Below this many labels, those held out for validation are worth a second training on all of them."""
_ENDING = 2.0
"""Seconds in which a model is saved, loaded again and compared."""


@dataclass(slots=True)
class TrainingData:
    """What training reads from a dataset."""

    train: Sequence[Record]
    validation: Sequence[Record]
    columns: Sequence[str]
    """The task's columns that hold values in the training rows."""
    cut: bool = False
    """Whether the validation records were taken from the training rows, so that a refit may learn from them too."""
    train_tokens: Tokens | None = None
    """What the encoder has read of the training records already; None has them read now."""
    validation_tokens: Tokens | None = None


@dataclass(slots=True)
class TrainingFolders:
    """Where a training keeps what it may need again, and since when it runs."""

    folder: Path
    """Of the run: the checkpoint, and what was chosen."""
    cache: Path | None = None
    """Of the states of frozen layers; None remembers none."""
    started: float = field(default_factory=time.monotonic)
    """What a time limit counts from."""


@dataclass(slots=True)
class TrainingOutcome:
    """A trained model with what is known of it."""

    model: VerticalModel
    config: Config
    """With the method and the calibrated task that were trained."""
    metrics: dict[str, float]
    """On validation, before any refit; empty where there is none."""
    intervals: dict[str, list[float]]
    """Low and high end of the bootstrap 95 % interval of each metric that has one."""
    chosen: dict[str, Any]
    """What was decided and why, for the report."""
    trained: int
    threads: int
    solved: bool
    """Whether the solved head is all there is, so that solving it again on more rows costs next to nothing."""


def train(config: Config, material: TrainingData, place: TrainingFolders, progress: Progress) -> TrainingOutcome:
    """Train what the config describes; a killed run goes on from what its place holds."""
    threads = use_threads(config.device.threads)
    lesson = _training_input(config, material, place, progress)
    held = _encoded(config, material.validation, material.columns, material.validation_tokens) if material.validation else None
    refit = bool(held) and _worth_a_refit(config, material)
    result = _first(lesson, held, threads, refit)
    if refit or (held and result.solved and material.cut and config.training.refit == "auto"):
        rows = [*material.train, *material.validation]
        progress("refit", rows=len(rows))
        known = material.train_tokens, material.validation_tokens
        both = None if known[0] is None or known[1] is None else known[0].joined(known[1])
        again = _training_input(result.config, replace(material, train=rows, train_tokens=both), place, progress)
        again.folder, again.deadline = place.folder / "refit", lesson.deadline
        result = _again(again, result)
    return result


def remove_checkpoints(folder: Path) -> None:
    """Remove checkpoint and choice once the model is saved."""
    for place in (folder / "refit", *folder.glob("checkpoint"), *folder.glob(".checkpoint.*")):  # also one cut short by a kill
        shutil.rmtree(place, ignore_errors=True)
    (folder / "choice.json").unlink(missing_ok=True)


def _encoded(config: Config, records: Sequence[Record], columns: Sequence[str], tokens: Tokens | None) -> Examples:
    return encode(records, config.task, config.encoder, config.task.views(columns), tokens)


def _training_input(config: Config, material: TrainingData, place: TrainingFolders, progress: Progress) -> TrainingInput:
    """The training records, encoded, with all that the loop needs besides."""
    examples = _encoded(config, material.train, material.columns, material.train_tokens)
    cache = TrunkCache(place.cache, config, accelerator(config), progress) if place.cache else None
    lesson = TrainingInput(config, config.task, config.encoder, examples, score=None, progress=progress, folder=place.folder, cache=cache)
    limit = config.training.time_limit or (auto.CPU_LIMIT if config.method == "auto" else None)
    lesson.deadline = place.started + limit if limit else None
    return lesson


@dataclass(slots=True)
class _Start:
    """A fresh model, with its head solved where that can be done."""

    model: VerticalModel
    solution: probe.ProbeSolution | None
    below: CachedStates | None
    """States of the layers that the method will not move."""

    @property
    def fallback(self) -> str | None:
        """What answers where nothing more is learnt; None where that is only a head drawn at random."""
        if self.solution:
            return "the linear probe"
        return None if head_parameters(self.model) else "the base as it is"


def _begin(lesson: TrainingInput, solve: bool, method: Method | None) -> _Start:
    """A fresh model drawn from the seed; its head is solved on the frozen states of these examples."""
    torch.manual_seed(lesson.config.seed)
    model = build(lesson.encoder, lesson.task)
    model.to(accelerator(lesson.config).device)
    below = _below(lesson, model, lesson.examples, method) if method else None
    if not solve or not probe.solvable(model, lesson.task, lesson.examples):
        return _Start(model, None, below)
    started = time.perf_counter()
    frozen = probe.freeze(model, lesson, below)
    follows = method is None or not _head_alone(method, model)
    solution = probe.solve(frozen, lesson.task, lesson.task.size, follows=follows)
    solution.copy_to(model.head)
    lesson.progress(
        "solved", seconds=round(time.perf_counter() - started, 2), looseness=solution.inverse_regularisation, loss=solution.loss
    )
    return _Start(model, solution, below)


def _head_alone(method: Method, model: VerticalModel) -> bool:
    """Whether the method moves nothing but the head."""
    layers = count(model.backbone)
    return method.depth(layers) > layers


def _below(lesson: TrainingInput, model: VerticalModel, examples: Examples, method: Method) -> CachedStates | None:
    """The states of the layers that this method leaves alone, computed where they are not known yet."""
    depth = method.depth(count(model.backbone))
    return lesson.cache.recall(model, depth, examples.features) if lesson.cache and depth > 1 else None


def _first(lesson: TrainingInput, held: Examples | None, threads: int, refit: bool) -> TrainingOutcome:
    """The training that validation watches."""
    config = lesson.config
    started = time.monotonic()
    solve = config.training.start != "random"
    start = _begin(lesson, solve, None if config.method == "auto" else config.method)
    if config.training.start == "probe" and start.solution is None:
        raise ConfigError(
            f"start: probe needs a linear head that can be solved; '{lesson.task.name}' with this pooling has none. Write start: auto."
        )
    begun = time.monotonic()
    before = _answered(start.model, lesson, held) if held and start.fallback else None
    ending = time.monotonic() - begun + _ENDING
    chosen: dict[str, Any] = {"start": "probe" if start.solution else "random"}
    if start.solution and before:
        chosen["solved_head"] = {lesson.task.goal: before.metrics[lesson.task.goal]}
    if lesson.deadline is not None:
        left = lesson.deadline - ending
        choice = _choice(lesson, start, held, (left, begun - started) if refit else (left, None))
        chosen["why"] = choice["why"]
        wanted = _Goal(parse(Method, choice["method"]), choice["epochs"], choice["seconds"])
    else:
        assert isinstance(config.method, Method)  # auto has a deadline
        wanted = _Goal(config.method, defaults.epochs(config, len(lesson.examples)))
    trained, learnt = _train(start, wanted, lesson, held)
    after = _answered(start.model, lesson, held) if held and (learnt or not before) else before
    if learnt and before and after and config.method == "auto" and _worse(lesson.task, after.tally, before.tally):
        chosen["why"] += f"; on validation it was worse than {start.fallback}, which is kept"
        wanted, after = _Goal(method_that_moves("head"), 0.0), before
        start = _begin(lesson, solve, wanted.method)
        trained, learnt = _train(start, wanted, lesson, None)
    chosen |= {"method": wanted.method.name, "epochs": round(wanted.epochs, 3), "seconds": round(time.monotonic() - started, 1)}
    if learnt:
        chosen |= {
            "steps": learnt.steps,
            "best_step": learnt.position.best_step,
            "examples_per_second": round(learnt.examples_per_second, 1),
        }
    task = after.task if after else lesson.task
    metrics, ends = (after.metrics, _intervals(after, config.seed)) if after else ({}, {})
    settled = config.model_copy(update={"method": wanted.method, "task": task})
    return TrainingOutcome(
        start.model, settled, metrics=metrics, intervals=ends, chosen=chosen, trained=trained, threads=threads,
        solved=start.solution is not None and not learnt,
    )  # fmt: skip


@dataclass(slots=True)
class _HeldOutAnswers:
    """What a model says of held-out records, with the task calibrated on them: thresholds are learnt before models are compared."""

    task: Task
    records: Sequence[Record]
    answers: list[Answer]

    @property
    def tally(self) -> NDArray[Any]:
        """The additive statistics of the answers."""
        return self.task.tally(self.records, self.answers)

    @property
    def metrics(self) -> dict[str, float]:
        """The task's metrics."""
        return self.task.score(self.records, self.answers)


def _answered(model: VerticalModel, lesson: TrainingInput, held: Examples, within: Around | None = None) -> _HeldOutAnswers:
    """What the model says of held-out examples, as it will answer (float32), or within a cheaper forward pass."""

    def run(features: Sequence[Any]) -> list[Any]:
        given = within if features is held.features else None
        return outputs(model, lesson.encoder, features, lesson.config.device.tokens, around=given)

    found = run(held.features)
    task = lesson.task.calibrate(held.records, held.features, found)
    return _HeldOutAnswers(task, held.records, task.decode(held.records, held.features, found, run=run))


def _worse(task: Task, after: NDArray[Any], before: NDArray[Any]) -> bool:
    """Whether training made the metric worse by more than one standard error of the paired difference.

    On some dozen validation rows the sign of a difference says next to nothing, and deeper training is better as a rule.
    """
    found = bootstrap.paired(bootstrap.Tallies(after, task.summarise), bootstrap.Tallies(before, task.summarise))[task.goal]
    error = (found.high - found.low) / (2 * 1.96)
    return bool(found.value * _sign(task) < -max(error, 0.0)) if math.isfinite(error) else False


@dataclass(slots=True)
class _Goal:
    """What a training is to do."""

    method: Method
    epochs: float
    seconds: float | None = None
    """When to stop although steps are left."""


def _train(start: _Start, wanted: _Goal, lesson: TrainingInput, held: Examples | None) -> tuple[int, LoopResult | None]:
    """Prepare and learn; returns how many weights may move.

    Nothing is left to learn where only a solved head may move, or where the base stands as it is.
    """
    model, method = start.model, wanted.method
    steps = steps_of(lesson.config, len(lesson.examples), wanted.epochs) if wanted.epochs else 0
    if not steps and not head_parameters(model):
        return 0, None
    solved = start.solution is not None and _head_alone(method, model)
    below = start.below if solved or not steps else start.below or _below(lesson, model, lesson.examples, method)
    score = _score(model, lesson, held, method) if held and steps and not solved else None
    torch.manual_seed(lesson.config.seed)
    method.prepare(model, lesson.task, steps)
    parameters = trainable(model)
    trained = sum(parameter.numel() for parameter in parameters.values())
    if solved or not steps or not parameters:
        return trained, None
    if start.solution:
        start.solution.copy_to(model.head, for_training=True)
    rates = defaults.rates(lesson.config, method, (model.width, start.solution is not None), len(lesson.examples))
    lesson.progress("training", method=method.name, steps=steps, rows=len(lesson.examples), parameters=trained, rate=rates.body)
    checkpoints = lesson.folder / "checkpoint" if lesson.folder else None
    plan = Plan(method, rates, steps, wanted.epochs, wanted.seconds)
    return trained, run_loop(model, plan, replace(lesson, folder=checkpoints, below=below, score=score))


def _score(model: VerticalModel, lesson: TrainingInput, held: Examples, method: Method) -> Score:
    """The metric on held-out examples while training runs: in its precision, from remembered states."""
    below = _below(lesson, model, held, method) if lesson.config.training.evaluations else None
    within = partial(around, accelerator(lesson.config), below)
    return lambda: _answered(model, lesson, held, within).metrics[lesson.task.goal] * _sign(lesson.task)


def _choice(lesson: TrainingInput, start: _Start, held: Examples | None, times: tuple[float, float | None]) -> dict[str, Any]:
    """What fits in the time limit: read back where a killed run had chosen already, so that it goes on with the same steps.

    `times` are when training must end, and what the head took, where all of it is done once more on all labels.
    """
    assert lesson.folder is not None
    file = lesson.folder / "choice.json"
    if file.exists() or not team.is_leader():
        team.barrier()
        return dict(read_json(file))
    config = lesson.config
    speed = auto.measure(start.model, lesson)
    until, again = times
    left = until - time.monotonic()
    if again is not None:
        left = (left - again) / (2 + len(held or ()) / max(1, len(lesson.examples)))  # the second training has more rows
    left = max(0.0, left)
    load = auto.Workload(
        tokens=int(lesson.examples.costs.sum()) // team.size(),
        steps=steps_of(config, len(lesson.examples), 1),
        watched=int(held.costs.sum()) * config.training.evaluations if held else 0,
        remembered=bool(lesson.cache and config.device.cache),
    )
    epochs = defaults.epochs(config, len(lesson.examples))
    if config.method == "auto":
        choice = auto.choose(start.model, load, speed, left, epochs, fallback=start.fallback)
    else:
        choice = auto.fit_in(config.method, start.model, load, speed, left, epochs=epochs)
    method = choice.method or method_that_moves("head")
    lesson.progress("chosen", method=method.name, epochs=choice.epochs, why=choice.why, speed=asdict(speed))
    value = {"method": method.model_dump(mode="json"), "epochs": choice.epochs, "why": choice.why, "seconds": max(left, 1.0)}
    write_json(file, value)
    team.barrier()
    return value


def _again(lesson: TrainingInput, result: TrainingOutcome) -> TrainingOutcome:
    """The same training on all labels, for as many passes, without anything held out; cut short by the time limit, it is dropped."""
    method, epochs = result.config.method, result.chosen["epochs"]
    assert isinstance(method, Method)
    start = _begin(lesson, result.chosen["start"] == "probe", method)
    left = max(1.0, lesson.deadline - time.monotonic() - _ENDING) if lesson.deadline is not None else None
    trained, learnt = _train(start, _Goal(method, epochs, left), lesson, None)
    if learnt and learnt.steps < steps_of(lesson.config, len(lesson.examples), epochs):
        lesson.progress("warning", message="the time limit came before the training on all labels had ended; the first model is kept")
        return result
    return replace(result, model=start.model, trained=trained, chosen={**result.chosen, "refit": len(lesson.examples)})


def _worth_a_refit(config: Config, material: TrainingData) -> bool:
    if not material.cut:
        return False
    few = len(material.train) + len(material.validation) <= FEW_ROWS
    return config.training.refit == "always" or (config.training.refit == "auto" and few)


def _intervals(answered: _HeldOutAnswers, seed: int) -> dict[str, list[float]]:
    """How sure each metric is; one that can't be computed has no interval."""
    found = bootstrap.intervals(answered.tally, answered.task.summarise, seed=seed)
    return {name: [entry.low, entry.high] for name, entry in found.items() if math.isfinite(entry.high - entry.low)}


def _sign(task: Task) -> float:
    """1 where a higher metric is better, else -1."""
    return -1.0 if task.goal in task.lower_is_better else 1.0
