"""Decides what a training does within its time limit, and describes what a longer limit would allow; trains nothing itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vertune.core.config import Config
from vertune.core.files import read_json, write_json
from vertune.core.kinds import Method, method_that_moves
from vertune.core.parse import build as parse
from vertune.learning import auto, clock, defaults, team
from vertune.learning.examples import Examples
from vertune.learning.loop import LoopResult, steps_of
from vertune.learning.training_input import TrainingInput
from vertune.nn.vertical import VerticalModel

_STEP = 10.0
"""Suggested time limits are multiples of this number of seconds."""


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The time that a training has: the limit of the config, and how much of it is left for the loop."""

    limit: float
    """Seconds of work from the start of the step, as `training.time_limit` sets them."""
    ends: float
    """Time of `learning.clock` at which the loop must end."""
    probing: float = 0.0
    """Seconds that the linear probe took, if all is repeated on all labelled rows afterwards; these are reserved for it."""
    repeated: float = 1.0
    """How many times as long as the loop on the training rows all loops take: more than 1 if there is a second one with more rows."""

    def left(self) -> float:
        """Return the seconds that are left for the loop on the training rows."""
        return max(0.0, (self.ends - clock.now() - self.probing) / self.repeated)

    def suggested(self, missing: float) -> float:
        """Return the time limit with which the loop would have had `missing` more seconds."""
        return math.ceil((self.limit + max(0.0, missing) * self.repeated) / _STEP) * _STEP


@dataclass(slots=True)
class TrainingGoal:
    """What to train: the method, the number of epochs, the time limit, and why."""

    method: Method
    epochs: float
    seconds: float | None = None
    """Seconds after which training stops even if steps remain; None sets no limit."""
    why: str | None = None
    """The reason for the method and the epochs, if a time limit decided."""
    warning: str | None = None
    """What the time limit prevents, and what a longer one would allow; None if it prevents nothing."""
    shortened: bool = False
    """Whether the time limit allows fewer epochs or layers than would be trained without it."""
    objective: Literal["labels", "contrastive"] = "labels"
    """What the layers below the head learn (`training.objective`)."""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    """The scores and costs of the goals that were compared by cross-validation; empty if nothing was compared."""
    folds: int = 0
    """The number of folds of that cross-validation; 0 if nothing was compared."""


Comparison = Callable[[auto.StepTimes, "TimeLimit"], "TrainingGoal | str | None"]
"""A function that compares several goals within the time limit and returns the best one. If there is too little time, it returns a
sentence about what a longer limit would allow; None if nothing can be compared."""


def unlimited(training_input: TrainingInput, method: Method) -> TrainingGoal:
    """Return the goal of a training without a time limit: all epochs of the configured method."""
    epochs = defaults.epochs(training_input.config, len(training_input.examples))
    return TrainingGoal(method, epochs, objective=_objective(training_input.config))


def decide(
    training_input: TrainingInput,
    model: VerticalModel,
    held_out: Examples | None,
    time: TimeLimit,
    fallback: str | None,
    compare: Comparison | None = None,
) -> TrainingGoal:
    """Choose the method (with `method: auto`) and the number of epochs that fit in the time limit.

    They are stored in choice.json, from which a resumed run reads them. `fallback` is the name of the model as it is
    now; None if it can't predict, because its head is random. `compare` compares goals first, if there are several.
    """
    assert training_input.folder is not None
    file = training_input.folder / "choice.json"
    if file.exists() or not team.is_leader():
        team.barrier()
        return _read(file)
    config = training_input.config
    speed = auto.measure(model, training_input)
    compared = compare(speed, time) if compare else None
    if isinstance(compared, TrainingGoal):
        training_input.progress("chosen", method=compared.method.name, epochs=compared.epochs, why=compared.why, speed=asdict(speed))
        _write(file, compared)
        return _read(file)
    left = time.left()
    load = auto.Workload(
        tokens=int(training_input.examples.costs.sum()) // team.size(),
        steps=steps_of(config, len(training_input.examples), 1),
        watched=int(held_out.costs.sum()) * config.training.evaluations if held_out else 0,
        remembered=bool(training_input.cache and config.device.cache),
    )
    epochs = defaults.epochs(config, len(training_input.examples))
    if config.method == "auto":
        choice = auto.choose(model, load, speed, left, epochs, fallback=fallback)
    else:
        choice = auto.fit_in(config.method, model, load, speed, left, epochs=epochs)
    method = choice.method or method_that_moves("head")
    training_input.progress("chosen", method=method.name, epochs=choice.epochs, why=choice.why, speed=asdict(speed))
    warning = _shortage(choice, time, left, epochs, fallback=fallback, free=config.method == "auto")
    goal = TrainingGoal(method, choice.epochs, max(left, 1.0), choice.why, warning or compared, objective=_objective(config))
    goal.shortened = warning is not None
    _write(file, goal)
    team.barrier()
    return _read(file)


def _objective(config: Config) -> Literal["labels", "contrastive"]:
    """Return the configured objective; `auto` is `labels` unless candidates are compared."""
    return "labels" if config.training.objective == "auto" else config.training.objective


def _shortage(choice: auto.Choice, time: TimeLimit, left: float, epochs: float, *, fallback: str | None, free: bool) -> str | None:
    """Return the warning about what does not fit in the time limit, and what a longer one would allow; None if all fits."""
    if choice.needed is None:
        return None
    longer = f"Set training.time_limit: {time.suggested(choice.needed - left):.0f}"
    if choice.method is None:
        return (
            f"The time limit of {time.limit:g} s is too short to train any layer, so {fallback} is kept. "
            f"{longer} to train all layers for {epochs:g} epochs."
        )
    if free:
        return (
            f"The time limit of {time.limit:g} s allows only method '{choice.method.name}' for {choice.epochs:.2g} epochs. "
            f"{longer} to train all layers for {epochs:g} epochs."
        )
    return (
        f"The time limit of {time.limit:g} s allows only {choice.epochs:.2g} of {epochs:g} epochs of method '{choice.method.name}' "
        f"({choice.epochs / epochs:.1%}). {longer} to train all of them."
    )


def stopped(time: TimeLimit, result: LoopResult, steps: int) -> str:
    """Return the warning that the time limit ended a training early, with the share that was done and the limit that it needs."""
    missing = result.position.seconds * (steps / max(1, result.steps) - 1)
    return (
        f"The time limit of {time.limit:g} s ended the training after {result.steps:,} of {steps:,} steps ({result.steps / steps:.1%}). "
        f"Set training.time_limit: {time.suggested(missing):.0f} to train to the end."
    )


def _write(file: Path, goal: TrainingGoal) -> None:
    value = {**asdict(goal), "method": goal.method.model_dump(mode="json")}
    write_json(file, value)


def _read(file: Path) -> TrainingGoal:
    value: dict[str, Any] = read_json(file)
    return TrainingGoal(**{**value, "method": parse(Method, value["method"])})
