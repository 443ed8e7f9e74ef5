"""Trains a model on new rows from the weights of the live one, so that it keeps what it knows; writes no files but checkpoints.

In each way that is tried, new rows are mixed with a sample of old ones (replay). Some ways also hold the weights, or the outputs for old
rows, near those of the live model (`retention`). The ways are compared on validation records, the old and the new ones apart: of those that
lose no more on the old ones than allowed, the best on the new ones is kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.core.artifact import Progress
from vertune.core.config import Config
from vertune.core.edits import Edit
from vertune.core.kinds import Method, Task
from vertune.learning import companion, defaults, growth, retention
from vertune.learning.cache import TrunkCache
from vertune.learning.examples import Examples, encode
from vertune.learning.held_out import HeldOutPredictions, decoded, intervals, predict
from vertune.learning.loop import LoopResult, Plan, accelerator, run_loop, steps_of
from vertune.learning.threads import use_threads
from vertune.learning.training_data import WAY_FOLDERS, TrainingData, TrainingFolders, TrainingOutcome
from vertune.learning.training_input import TrainingInput
from vertune.learning.tried import entry, stored
from vertune.nn.build import build, trainable
from vertune.nn.structure import count
from vertune.nn.vertical import VerticalModel

TOLERANCE = 0.003
"""What a way may lose on old validation records, as a share of the metric of the live model, to count as one that forgets nothing."""
_LEAST_OLD = 500
"""Least number of old rows that are replayed, if there are as many."""
_STRENGTHS = (1.0, 0.5, 0.0)
"""How much of the change of the classes' shares is corrected: wholly, unless less is better on validation records."""
_WORK = 0.25
"""The largest number of rows that all ways together are trained on, as a share of that of a training from the pretrained model."""


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The model that training starts from."""

    id: str
    method: Method
    task: Task
    edits: Sequence[Edit]
    """What its training changed in the pretrained model."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train on new rows without forgetting the old ones; all replay some of them."""

    name: str
    distillation: float = 0.0
    """Weight of the distance from the outputs of the live model, for old rows."""
    anchor: float = 0.0
    """Weight of the squared distance from the weights of the live model."""
    by_importance: bool = False
    """Whether the anchor holds weights by how important they are for old rows."""


WAYS = (
    Way("distillation", distillation=1.0),
    Way("replay"),
    Way("anchor", anchor=0.01),
    Way("importance", anchor=0.01, by_importance=True),
)
"""The ways in the order in which they are tried, as long as their work is small beside that of training from the pretrained model."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """How training goes on from the live model."""

    replay: float = 3.0
    """Number of old rows for each new one."""
    epochs: float = 3.0
    """Passes over new and replayed rows."""
    rate: float = 1.0
    """Learning rate, relative to that of a training from the pretrained model."""
    ways: Sequence[Way] = WAYS
    seconds: float | None = None
    """Seconds that all ways together may take; the first one is always tried. None sets no limit."""


@dataclass(slots=True)
class _Attempt:
    """A model that was trained in one way, and what it is worth on validation."""

    way: Way
    model: VerticalModel
    found: HeldOutPredictions | None
    result: LoopResult
    seconds: float
    old: float | None
    new: float | None
    """The main metric on the old and on the new validation records; None without such records, or if they can't be told apart."""

    def facts(self) -> dict[str, Any]:
        """Return what the report says about it."""
        return {"name": self.way.name, "old": self.old, "new": self.new, "steps": self.result.steps, "seconds": round(self.seconds, 1)}


def train(
    config: Config, data: TrainingData, live: LiveModel, how: Continuation, places: tuple[TrainingFolders, Progress]
) -> TrainingOutcome:
    """Train a model on the data from the weights of the live one, and return it with its validation metrics.

    `data.fresh` says which records are new; `places` are the folders and what takes events. The method of the live model is used, whatever
    the config says, because its changes can't be turned into those of another one.
    """
    folders, progress = places
    config, started = config.model_copy(update={"method": live.method}), time.monotonic()
    threads = use_threads(config.device.threads)
    views = config.task.views(data.columns)
    whole = encode(data.train, config.task, config.encoder, views, data.train_tokens).weighted(data.trust)
    held = encode(data.validation, config.task, config.encoder, views, data.validation_tokens) if data.validation else None
    cache = TrunkCache(folders.cache, config, accelerator(config), progress) if folders.cache else None
    everything = TrainingInput(config, config.task, config.encoder, whole, score=None, progress=progress, cache=cache)
    assert data.fresh is not None
    rows, is_old = _lesson(whole, config.task, data.fresh[0], how, config)
    lesson = replace(everything, examples=whole.subset(rows))
    course = _Course(
        everything, lesson, np.flatnonzero(is_old), held, data.fresh[1], live=live, how=how, folder=folders.folder / WAY_FOLDERS
    )
    attempts = course.tried(started)
    best = _best(attempts, course.reference, config.task)
    return _outcome(everything, held, (best, attempts, course), threads, started)


def _lesson(
    whole: Examples, task: Task, fresh: NDArray[np.bool_], how: Continuation, config: Config
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the indices of the rows to train on, and which of them are old: all new rows, and a sample of old ones of each target.

    Old rows are taken at even distances from their list by target, so that each target has its share.
    """
    new, old = np.flatnonzero(fresh), np.flatnonzero(~fresh)
    most = _WORK * defaults.epochs(config, len(fresh)) * len(fresh) / max(how.epochs, 1e-9) - len(new)
    wanted = int(min(len(old), max(_LEAST_OLD, len(new), min(how.replay * len(new), most))))
    names = [column.name for column in task.target_columns]
    shuffled = np.random.default_rng(config.seed).permutation(old)
    order = sorted(shuffled.tolist(), key=lambda row: repr([whole.records[row].get(name) for name in names]))
    chosen = np.array(order, np.int64)[np.linspace(0, max(0, len(order) - 1), wanted).astype(np.int64)] if wanted else old[:0]
    rows = np.concatenate([new, chosen])
    return rows, np.arange(len(rows)) >= len(new)


@dataclass(slots=True)
class _Course:
    """What all ways have in common: the rows to learn, the live model, and the records to judge by."""

    everything: TrainingInput
    lesson: TrainingInput
    """The rows to train on: all new ones, and some old ones."""
    old_rows: NDArray[np.int64]
    """The indices of the old rows among those of the lesson."""
    held: Examples | None
    fresh: NDArray[np.bool_]
    """Which of the validation records are new."""
    live: LiveModel
    how: Continuation
    folder: Path
    """Where each way has its checkpoint, so that a training that was killed goes on in the way in which it was."""
    reference: float | None = None
    """The main metric of the live model on the old validation records."""
    _new_outputs: Mapping[str, torch.Tensor] | None = None
    """The weights of the head once new outputs are fitted, so that they are fitted once."""

    @property
    def config(self) -> Config:
        return self.lesson.config

    def start(self, steps: int) -> tuple[VerticalModel, TrainingInput]:
        """Return a model with the weights of the live one, prepared for so many steps, and the lesson with states of frozen layers."""
        config, task = self.config, self.lesson.task
        torch.manual_seed(config.seed)
        model = build(self.lesson.encoder, task).to(accelerator(config).device)
        depth = self.live.method.depth(count(model.backbone))
        cache = self.lesson.cache
        below = cache.recall(model, depth, self.lesson.examples.features) if cache and depth > 1 else None
        self.live.method.prepare(model, task, steps)
        self.live.method.start_from(model, growth.grown(self.live.edits, self.live.task, task, model))
        if self._new_outputs is None:
            new = growth.new_outputs(self.live.task, task)
            if self.held is not None:
                with growth.without_outputs(model, new):
                    self.reference = self._scores(predict(model, self.everything, self.held))[0]
            growth.fit_new_outputs(model, self.lesson, new)
            self._new_outputs = {name: value.clone() for name, value in model.head.state_dict().items()}
        model.head.load_state_dict(dict(self._new_outputs))
        return model, replace(self.lesson, below=below)

    def tried(self, started: float) -> list[_Attempt]:
        """Train in each way that is affordable, and return the models."""
        rows, epochs = len(self.lesson.examples), self.how.epochs
        budget = _WORK * defaults.epochs(self.config, len(self.everything.examples)) * len(self.everything.examples)
        attempts: list[_Attempt] = []
        for place, way in enumerate(self.how.ways):
            if (way.distillation and self.lesson.task.whole_batch) or (attempts and not len(self.old_rows)):
                continue
            taken = time.monotonic() - started + sum(attempt.result.earlier for attempt in attempts)
            slow = self.how.seconds is not None and taken * (len(attempts) + 1) / max(1, len(attempts)) > self.how.seconds
            if attempts and (slow or (len(attempts) + 1) * rows * epochs > budget):
                break
            self.lesson.progress("comparing", step=place, steps=len(self.how.ways), name=way.name)
            attempts.append(self._attempt(way, self.folder / str(place)))
        return attempts

    def _attempt(self, way: Way, folder: Path) -> _Attempt:
        began, method = time.monotonic(), self.live.method
        steps = steps_of(self.config, len(self.lesson.examples), self.how.epochs)
        model, lesson = self.start(steps)
        usual = defaults.rates(self.config, method, (model.width, True), len(self.everything.examples))
        rates = defaults.Rates(usual.body * self.how.rate, usual.head * self.how.rate)
        parameters = sum(parameter.numel() for parameter in trainable(model).values())
        lesson.progress(
            "training", method=method.name, steps=steps, rows=len(lesson.examples), parameters=parameters, rate=rates.body
        )  # fmt: skip
        plan = Plan(method, rates, steps, self.how.epochs, self.how.seconds)
        result = run_loop(model, plan, replace(self._kept(way, model, lesson), folder=folder))
        found = predict(model, self.everything, self.held) if self.held is not None else None
        found = self._with_shares(model, found)
        old, new = self._scores(found) if found else (None, None)
        return _Attempt(way, model, found, result, time.monotonic() - began + result.earlier, old=old, new=new)

    def _kept(self, way: Way, model: VerticalModel, lesson: TrainingInput) -> TrainingInput:
        """Return the lesson with the terms of the loss that this way adds."""
        grows = bool(growth.new_outputs(self.live.task, lesson.task))
        if way.anchor:
            weights = retention.anchored(model, grows)
            by = retention.importance(model, lesson, self.old_rows, weights) if way.by_importance else None
            lesson = replace(lesson, penalties=[retention.Anchor(weights, way.anchor, by)])
        if way.distillation:
            columns = growth.kept_outputs(self.live.task, lesson.task)[1]
            term = retention.Distillation.of(model, lesson, self.old_rows, way.distillation, columns)
            lesson = replace(lesson, objective=term.loss)
        return lesson

    def _with_shares(self, model: VerticalModel, found: HeldOutPredictions | None) -> HeldOutPredictions | None:
        """Correct the head for the shares of the classes, which replay changes: the lesson has few of the old rows, and all new ones.

        The logarithm of the ratio of the shares is added to the outputs (Saerens et al. 2002), wholly, by half, or not at all, whichever is
        best on all validation records, whose shares are those of all rows. Returns the predictions with it.
        """
        change = _of_shares(self.everything.examples, self.lesson.examples, self.everything.task)
        if change is None or not isinstance(model.head, torch.nn.Linear):
            return found
        strength, best = 1.0, None
        if found is not None and self.held is not None:
            goal, sign = found.task.goal, found.task.goal_sign
            for candidate in _STRENGTHS:
                moved = decoded(self.everything.task, self.held, [raw + candidate * change for raw in found.outputs], found.seconds)
                if best is None or sign * moved.metrics[goal] > sign * best.metrics[goal]:
                    strength, best = candidate, moved
        with torch.no_grad():
            model.head.bias.add_(torch.from_numpy(strength * change).to(model.head.bias))
        return best

    def _scores(self, found: HeldOutPredictions) -> tuple[float | None, float | None]:
        """Return the main metric on the old and on the new validation records."""
        tally = found.tally
        if len(tally) != len(self.fresh):  # one row per query, which may have old and new records
            return found.metrics[found.task.goal], None
        goal, parts = found.task.goal, (~self.fresh, self.fresh)
        old, new = (float(found.task.summarise(tally[part].sum(axis=0))[goal]) if part.any() else None for part in parts)
        return old, new


def _of_shares(whole: Examples, lesson: Examples, task: Task) -> NDArray[np.float32] | None:
    """Return the logarithm of the share of each class in all examples, less that in those of the lesson; None if targets are no classes."""
    values = [np.asarray(examples.targets.values) for examples in (whole, lesson)] if task.activation == "softmax" else []
    if not values or any(value.ndim != 1 or not np.issubdtype(value.dtype, np.integer) for value in values):
        return None
    pairs = zip(values, (whole, lesson), strict=True)
    counts = [np.bincount(value, weights=examples.weights, minlength=task.size) + 1 for value, examples in pairs]
    first, second = (np.log(count / count.sum()) for count in counts)
    change = first - second
    return np.asarray(change - change.mean(), np.float32)


def forgets(loss: float, reference: float) -> bool:
    """Return whether a loss of the main metric on old records is more than allowed, beside its value for the live model."""
    return loss > TOLERANCE * max(abs(reference), 1e-12)


def _best(attempts: Sequence[_Attempt], reference: float | None, task: Task) -> _Attempt:
    """Return the attempt that is best on new validation records, of those that forget nothing; if all do, the one that forgets least."""

    def rank(attempt: _Attempt) -> tuple[bool, float, float]:
        old = 0.0 if attempt.old is None else task.goal_sign * attempt.old
        new = old if attempt.new is None else task.goal_sign * attempt.new
        lost = 0.0 if reference is None else task.goal_sign * reference - old
        kept = reference is None or not forgets(lost, reference)
        return kept, new if kept else -lost, old

    return max(attempts, key=rank)


def _outcome(
    everything: TrainingInput, held: Examples | None, tried: tuple[_Attempt, Sequence[_Attempt], _Course], threads: int, started: float
) -> TrainingOutcome:
    """Return the outcome: the best attempt, with a companion that is learnt on all rows and the validation records."""
    best, attempts, course = tried
    config, found = everything.config, best.found
    words = companion.fit_words(everything, held)
    learnt = companion.learn(words, everything, held, found) if held is not None and found is not None else None
    after = learnt.mixed if learnt else found
    weights = trainable(best.model)
    chosen: dict[str, Any] = {
        "start": "live", "live": course.live.id, "why": _why(best, attempts, course.reference), "method": course.live.method.name,
        "objective": "labels", "epochs": course.how.epochs, "steps": best.result.steps, "seconds": round(time.monotonic() - started, 1),
        "way": best.way.name, "ways": [attempt.facts() for attempt in attempts], "live_on_old": course.reference,
        "rows": len(everything.examples), "replayed": len(course.old_rows), "new": len(course.lesson.examples) - len(course.old_rows),
    }  # fmt: skip
    if learnt:
        chosen["companion"] = learnt.figures
        everything.progress("companion", **learnt.figures)
    if found is not None:
        each = [(attempt, attempt.found) for attempt in attempts if attempt.found is not None]
        chosen["tried"] = [
            {**entry(one.way.name, judged, (one.seconds, stored(weights)), config.seed), "kept": one is best} for one, judged in each
        ]
    metrics, ends = (after.metrics, intervals(after, config.seed)) if after else ({}, {})
    return TrainingOutcome(
        best.model, config.model_copy(update={"task": after.task if after else everything.task}), metrics=metrics, intervals=ends,
        chosen=chosen, trained=sum(item.numel() for item in weights.values()), threads=threads, solved=False,
        companion=learnt.companion if learnt else None,
    )  # fmt: skip


def _why(best: _Attempt, attempts: Sequence[_Attempt], reference: float | None) -> str:
    """Return the reason for the way that was chosen, for the report."""
    if best.old is None or reference is None:
        return f"trained on from the live model with {best.way.name}; there are no old validation rows to compare on"
    shown = ", ".join(f"{one.way.name}: {_value(one.old)} on old and {_value(one.new)} on new rows" for one in attempts)
    return f"trained on from the live model, which has {reference:.4f} on old validation rows ({shown})"


def _value(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
