"""One whole training: encode, solve the head, choose, learn, calibrate, refit; knows nothing of artifacts or reports."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from vertune.core.artifact import Progress, read_json, write_json
from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.kinds import Method, Task
from vertune.core.parse import build as parse
from vertune.core.records import Answer, Record
from vertune.learning import auto, defaults, probe
from vertune.learning.examples import Examples, encode
from vertune.learning.loop import Learnt, Lesson, Plan, accelerator, learn, steps_of
from vertune.learning.threads import use_threads
from vertune.metrics import bootstrap
from vertune.nn.build import build, trainable
from vertune.nn.run import outputs
from vertune.nn.structure import head_parameters
from vertune.nn.vertical import Vertical

FEW_ROWS = 2000
"""Below this many labels, those held out for validation are worth a second training on all of them."""


@dataclass(slots=True)
class Material:
    """The records of one training, and whether validation was cut from the training rows."""

    train: Sequence[Record]
    validation: Sequence[Record]
    columns: Sequence[str]
    cut: bool = False


@dataclass(slots=True)
class Result:
    """A trained model with what is known of it."""

    model: Vertical
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


def teach(config: Config, material: Material, folder: Path, progress: Progress) -> Result:
    """Train what the config describes; `folder` keeps the checkpoint and the choice of a run that may be killed."""
    threads = use_threads(config.device.threads)
    lesson = _lesson(config, material.train, material.columns, folder, progress)
    held = _lesson(config, material.validation, material.columns, folder, progress).examples if material.validation else None
    refit = bool(held) and _worth_a_refit(config, material)
    result = _first(lesson, held, threads, refit)
    if refit:
        rows = [*material.train, *material.validation]
        progress("refit", rows=len(rows))
        again = _lesson(result.config, rows, material.columns, folder, progress)
        again.folder = folder / "refit"
        model, trained = _again(again, result)
        result = replace(result, model=model, trained=trained, chosen={**result.chosen, "refit": len(rows)})
    return result


def forget(folder: Path) -> None:
    """Remove checkpoint and choice once the model is saved."""
    for place in (folder / "refit", *folder.glob("checkpoint"), *folder.glob(".checkpoint.*")):  # also one cut short by a kill
        shutil.rmtree(place, ignore_errors=True)
    (folder / "choice.json").unlink(missing_ok=True)


def _lesson(config: Config, records: Sequence[Record], columns: Sequence[str], folder: Path, progress: Progress) -> Lesson:
    examples = encode(records, config.task, config.encoder, config.task.views(columns))
    return Lesson(config, config.task, config.encoder, examples, None, progress, folder)


@dataclass(slots=True)
class _Start:
    """A fresh model, with its head solved where that can be done."""

    model: Vertical
    solution: probe.Solution | None
    forward: float
    """Seconds a token of a pass without gradients; 0 where none was made."""

    @property
    def stands(self) -> str | None:
        """What answers where nothing more is learnt; None where that is only a head drawn at random."""
        if self.solution:
            return "the solved head"
        return None if head_parameters(self.model) else "the base as it is"


def _begin(lesson: Lesson, solve: bool) -> _Start:
    """A fresh model drawn from the seed; its head is solved on the frozen states of these examples."""
    torch.manual_seed(lesson.config.seed)
    model = build(lesson.encoder, lesson.task)
    model.to(accelerator(lesson.config).device)
    if not solve or not probe.solvable(model, lesson.task, lesson.examples):
        return _Start(model, None, 0.0)
    started = time.perf_counter()
    frozen = probe.freeze(model, lesson.encoder, lesson.examples, lesson.config.device.tokens)
    forward = (time.perf_counter() - started) / max(1, frozen.cost)
    solution = probe.solve(frozen, lesson.task, lesson.task.size)
    solution.give(model.head)
    lesson.progress("solved", seconds=round(time.perf_counter() - started, 2), looseness=solution.looseness, loss=solution.loss)
    return _Start(model, solution, forward)


def _first(lesson: Lesson, held: Examples | None, threads: int, refit: bool) -> Result:
    """The training that validation watches."""
    config = lesson.config
    started = time.monotonic()
    start = _begin(lesson, config.training.start != "random")
    if config.training.start == "probe" and start.solution is None:
        raise ConfigError(
            f"start: probe needs a linear head that can be solved; '{lesson.task.name}' with this pooling has none. Write start: auto."
        )
    model = start.model
    score = (lambda: _metrics(model, lesson, held)[lesson.task.goal] * _sign(lesson.task)) if held else None
    lesson.score = score
    before = _tally(model, lesson, held) if held and start.stands else None
    chosen: dict[str, Any] = {"start": "probe" if start.solution else "random"}
    if start.solution and before is not None:
        chosen["solved_head"] = {lesson.task.goal: float(lesson.task.summarise(before.sum(axis=0))[lesson.task.goal])}
    method, epochs = config.method, defaults.epochs(config, len(lesson.examples))
    limit = None
    if method == "auto" or config.training.time_limit:
        choice = _choice(lesson, start, epochs, auto.limit(config) - (time.monotonic() - started), refit)
        chosen["why"] = choice["why"]
        method, epochs, limit = parse(Method, choice["method"]), choice["epochs"], choice["seconds"]
    trained, learnt = _train(start, method, epochs, lesson, limit)
    if learnt and held and before is not None and config.method == "auto" and _worse(lesson.task, _tally(model, lesson, held), before):
        chosen["why"] += f"; on validation it was worse than {start.stands}, which is kept"
        method, epochs = parse(Method, "head"), 0.0
        start = _begin(lesson, config.training.start != "random")
        model = start.model
        trained, learnt = _train(start, method, epochs, lesson)
    chosen |= {"method": method.name, "epochs": round(epochs, 3), "seconds": round(time.monotonic() - started, 1)}
    if learnt:
        chosen |= {
            "steps": learnt.steps,
            "best_step": learnt.position.best_step,
            "examples_per_second": round(learnt.examples_per_second, 1),
        }
    task, metrics, ends = lesson.task, {}, {}
    if held:
        task, answers = _answered(model, lesson, held)
        metrics, ends = task.score(held.records, answers), _intervals(task, held.records, answers, config.seed)
    return Result(model, config.model_copy(update={"method": method, "task": task}), metrics, ends, chosen, trained, threads)


def _worse(task: Task, after: NDArray[Any], before: NDArray[Any]) -> bool:
    """Whether training made the metric worse by more than one standard error of the paired difference.

    On some dozen validation rows the sign of a difference says next to nothing, and deeper training is better as a rule.
    """
    found = bootstrap.paired((after, task.summarise), (before, task.summarise))[task.goal]
    error = (found.high - found.low) / (2 * 1.96)
    return bool(found.value * _sign(task) < -max(error, 0.0)) if math.isfinite(error) else False


def _tally(model: Vertical, lesson: Lesson, held: Examples) -> NDArray[Any]:
    """The additive statistics of what the model says of held-out examples."""
    task, answers = _answered(model, lesson, held)
    return task.tally(held.records, answers)


def _train(start: _Start, method: Method, epochs: float, lesson: Lesson, limit: float | None = None) -> tuple[int, Learnt | None]:
    """Prepare and learn; nothing is left to learn where only a solved head may move, or where the base stands as it is."""
    model = start.model
    steps = steps_of(lesson.config, len(lesson.examples), epochs) if epochs else 0
    if not steps and not head_parameters(model):
        return 0, None
    torch.manual_seed(lesson.config.seed)
    method.prepare(model, lesson.task, steps)
    parameters = trainable(model)
    trained = sum(parameter.numel() for parameter in parameters.values())
    solved = start.solution is not None and all(name.startswith("head.") for name in parameters)
    if solved or not steps or not parameters:
        return trained, None
    if start.solution:
        start.solution.give(model.head, tight=True)
    rates = defaults.rates(lesson.config, method, (model.width, start.solution is not None), len(lesson.examples))
    lesson.progress("training", method=method.name, steps=steps, rows=len(lesson.examples), parameters=trained, rate=rates.body)
    checkpoints = lesson.folder / "checkpoint" if lesson.folder else None
    return trained, learn(model, Plan(method, rates, steps, epochs, limit), replace(lesson, folder=checkpoints))


def _choice(lesson: Lesson, start: _Start, epochs: float, left: float, refit: bool) -> dict[str, Any]:
    """What fits in the time limit: read back where a killed run had chosen already, so that it goes on with the same steps."""
    assert lesson.folder is not None
    file = lesson.folder / "choice.json"
    if file.exists():
        return dict(read_json(file))
    started = time.monotonic()
    speed = auto.measure(start.model, lesson, start.forward)
    left = max(0.0, left - (time.monotonic() - started))
    if refit:
        left /= 2  # the second half is for the same training on all labels
    tokens = int(lesson.examples.costs.sum())
    wanted = lesson.config.method
    if wanted == "auto":
        choice = auto.choose(start.model, tokens, speed, left, epochs, start.stands)
    else:
        choice = auto.fit_in(wanted, tokens, speed, left, epochs)
    method = choice.method or parse(Method, "head")
    lesson.progress("chosen", method=method.name, epochs=choice.epochs, why=choice.why, speed=asdict(speed))
    value = {"method": method.model_dump(mode="json"), "epochs": choice.epochs, "why": choice.why, "seconds": max(left, 1.0)}
    write_json(file, value)
    return value


def _again(lesson: Lesson, result: Result) -> tuple[Vertical, int]:
    """The same training on all labels, for as many passes, without anything held out."""
    start = _begin(lesson, result.chosen["start"] == "probe")
    method = result.config.method
    assert isinstance(method, Method)
    trained, _ = _train(start, method, result.chosen["epochs"], lesson)
    return start.model, trained


def _worth_a_refit(config: Config, material: Material) -> bool:
    if not material.cut:
        return False
    few = len(material.train) + len(material.validation) <= FEW_ROWS
    return config.training.refit == "always" or (config.training.refit == "auto" and few)


def _metrics(model: Vertical, lesson: Lesson, held: Examples) -> dict[str, float]:
    """The task's metrics on held-out examples."""
    task, answers = _answered(model, lesson, held)
    return task.score(held.records, answers)


def _answered(model: Vertical, lesson: Lesson, held: Examples) -> tuple[Task, list[Answer]]:
    """What the model says of held-out examples, and the task calibrated on them: thresholds are learnt before anything is compared."""

    def run(features: Sequence[Any]) -> list[Any]:
        return outputs(model, lesson.encoder, features, lesson.config.device.tokens)

    found = run(held.features)
    task = lesson.task.calibrate(held.records, held.features, found)
    return task, task.decode(held.records, held.features, found, run=run)


def _intervals(task: Task, records: Sequence[Record], answers: Sequence[Answer], seed: int) -> dict[str, list[float]]:
    """How sure each metric is; one that can't be computed has no interval."""
    found = bootstrap.intervals(task.tally(records, answers), task.summarise, seed=seed)
    return {name: [entry.low, entry.high] for name, entry in found.items() if math.isfinite(entry.high - entry.low)}


def _sign(task: Task) -> float:
    """1 where a higher metric is better, else -1."""
    return -1.0 if task.goal in task.lower_is_better else 1.0
