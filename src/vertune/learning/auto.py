"""Implements `method: auto`, which chooses a fine-tuning method that fits in the remaining time; reads and writes no files.

A linear probe (a linear head on the unchanged base model) is fitted first (Kumar et al. 2022). Then the speed of
training is measured on this machine. If enough epochs fit in the remaining time, the model is trained: all layers
(method `full`) if possible, else as many of the last layers as possible (method `top_layers`). The trained model is
kept unless it is worse than the probe on the validation records by more than one standard error of the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.core.kinds import Method, method_that_moves
from vertune.learning import clock, memory
from vertune.learning.examples import Examples
from vertune.learning.gradients import StepGradients
from vertune.learning.loop import accelerator
from vertune.learning.training_input import TrainingInput
from vertune.nn.structure import count, shares_layers, word_table
from vertune.nn.vertical import VerticalModel

CPU_LIMIT = 300.0
"""Time limit of `auto` on a CPU, in seconds, if the config sets none."""
_FEWEST_PASSES = 1.5
"""A method is chosen only if this many epochs fit in the remaining time, or all configured epochs if those are fewer."""
_MARGIN = 0.85
"""Fraction of the remaining time that training may be planned to use; the rest is a reserve, e.g. for a slower machine."""
_MEASURED_STEPS = 4
"""Number of training batches on which the speed is measured."""
_MEASURED_ROWS = 512
"""Largest number of rows on which the speed is measured, if a batch is not larger."""
_FEWEST_ROWS = 8
"""Smallest number of rows on which the speed is measured."""
_MEASURED_TOKENS = 12_288
"""Number of tokens on which the speed is measured, if texts are so long that four batches have more."""
_LONG = 2.0
"""Seconds of a step from which it is measured only once."""
_LEAST = 1e-3
"""Smallest number of epochs to train if training is required but there is no time: in effect a single optimiser step."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """The measured speed of training on this machine: seconds per token, and per optimiser step."""

    forward: float
    """Seconds per token of a forward pass through all layers, without gradients."""
    full: float
    """Seconds per token of a forward and backward pass through all layers."""
    update: float = 0.0
    """Seconds of one optimiser step over all layers."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The amount of work in one epoch of training, from which the time of the epoch is estimated."""

    tokens: int
    """Training tokens per epoch."""
    steps: int = 0
    """Optimiser steps per epoch."""
    watched: int = 0
    """Number of validation tokens that the model processes per epoch."""
    remembered: bool = False
    """Whether the outputs of frozen layers are computed once, stored on disk, and read from there in every epoch."""

    def once(self, speed: StepTimes, share: float) -> float:
        """Return the estimated seconds to compute and store the outputs of the frozen layers before the first epoch.

        `share` is the fraction (0 to 1) of the layers that is trained; the others are frozen. The result is 0 if
        outputs are not stored.
        """
        return (self.tokens + self.watched) * speed.forward * (1 - share) * self.remembered

    def passing(self, speed: StepTimes, share: float) -> float:
        """Return the estimated seconds of one epoch in which only the last layers are trained.

        `share` is the fraction (0 to 1) of the layers that is trained.
        """
        below = 0.0 if self.remembered else speed.forward * (1 - share)
        learning = self.tokens * (below + speed.full * share) + self.steps * speed.update * share
        return learning + self.watched * (below + speed.forward * share)

    def passes(self, speed: StepTimes, share: float, left: float) -> float:
        """Return how many epochs fit in `left` seconds if only the last layers are trained.

        `share` is the fraction (0 to 1) of the layers that is trained. 15 % of the time is kept in reserve.
        """
        return max(0.0, left * _MARGIN - self.once(speed, share)) / self.passing(speed, share)

    def needed(self, speed: StepTimes, share: float, epochs: float) -> float:
        """Return how many seconds must be left so that this number of epochs fits, the reserve of 15 % included."""
        return (self.once(speed, share) + epochs * self.passing(speed, share)) / _MARGIN


@dataclass(frozen=True, slots=True)
class Choice:
    """What to train in the remaining time: the method, the number of epochs, and the reason for this choice."""

    method: Method | None
    """The method to train with; None trains nothing and keeps the current model."""
    epochs: float
    why: str
    """The reason for the choice, which the report shows."""
    needed: float | None = None
    """How many seconds must be left to train what would be trained without a time limit; None if this is what is trained."""


def measure(model: VerticalModel, lesson: TrainingInput) -> StepTimes:
    """Measure the speed of training with a few typical steps and one update of the weights, without changing the weights.

    The passes are those of training: they keep to the same memory limit.
    """
    examples, batch = lesson.examples, lesson.config.training.batch
    engine = accelerator(lesson.config)
    model.to(engine.device).train()
    gradients = StepGradients.of(model, lesson, engine, None)
    rows = _typical(examples, batch)
    if not gradients.joint:
        rows = rows[np.argsort(examples.row_costs[rows], kind="stable")]
    full, forward, tokens = 0.0, 0.0, 0
    for first in range(0, len(rows), batch):
        features = examples.rows_of(rows[first : first + batch])
        full += _seconds(partial(_step, model, gradients, features))
        forward += _seconds(partial(gradients.run, features))
        tokens += int(examples.costs[features].sum())
    memory.give_back()
    return StepTimes(forward / max(1, tokens), max(full, forward) / max(1, tokens), _update(model))


def _typical(examples: Examples, batch: int) -> NDArray[np.int64]:
    """Return the indices of random records on which the speed is measured: up to four batches, but few if texts are long."""
    rows = np.random.default_rng(0).permutation(len(examples))[: min(batch * _MEASURED_STEPS, max(batch, _MEASURED_ROWS))]
    total = np.cumsum(examples.row_costs[rows])
    return rows[: max(_FEWEST_ROWS, int(np.searchsorted(total, _MEASURED_TOKENS)))]


def _step(model: VerticalModel, gradients: StepGradients, features: NDArray[np.int64]) -> None:
    """Run the forward and backward passes of one step."""
    gradients.add(features, gradients.total(features))
    model.zero_grad(set_to_none=True)


def _seconds(run: Callable[[], None]) -> float:
    """Return the seconds that `run` takes.

    If they are few, it is repeated, because the first pass of a new shape also prepares kernels, and because noise only ever
    adds time.
    """
    times: list[float] = []
    while len(times) < 1 or (len(times) < 3 and times[0] < _LONG):
        started = clock.now()
        run()
        times.append(clock.now() - started)
    return min(times[1:] or times)


def _update(model: VerticalModel) -> float:
    """Return the seconds that one AdamW step over all layers takes, measured on copies of the weights.

    The table of word embeddings is left out.
    """
    table = word_table(model.backbone)
    copies = [item.detach().clone() for item in model.backbone.parameters() if table is None or item is not table.weight]
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    optimiser = torch.optim.AdamW(copies, lr=0.0, fused=True)
    optimiser.step()  # allocates the moments
    started = clock.now()
    optimiser.step()
    return clock.now() - started


def fit_in(method: Method, model: VerticalModel, load: Workload, speed: StepTimes, left: float, epochs: float) -> Choice:
    """Choose the number of epochs for a method that the config sets: as many of the `epochs` as fit in `left` seconds."""
    total = count(model.backbone)
    share = min(total, max(1, total + 1 - method.depth(total))) / total
    passes = load.passes(speed, share, left)
    if passes >= epochs:
        return Choice(method, epochs, f"all {epochs:g} epochs fit in the remaining {left:.0f} s")
    why = f"the remaining {left:.0f} s suffice for {passes:.2f} of {epochs:g} epochs"
    return Choice(method, max(passes, _LEAST), why, load.needed(speed, share, epochs))


def choose(
    model: VerticalModel, load: Workload, speed: StepTimes, left: float, epochs: float, fallback: str | None = "the linear probe"
) -> Choice:
    """Choose the method that trains the most layers among those for which enough epochs fit in `left` seconds.

    Enough are 1.5 epochs, or `epochs` if that is less. If no layer can be trained for that long, nothing is trained and
    the current model is kept; `fallback` is the name of that model in messages. If `fallback` is None, the current
    model can't predict, because its head is random. Then as few layers as possible are trained, for as many epochs as
    fit.
    """
    total = count(model.backbone)
    numbers = [total, *([] if shares_layers(model.backbone) else range(total - 1, 0, -1))]
    fitting = {number: load.passes(speed, number / total, left) for number in numbers}
    situation = (
        f"with {left:.0f} s left and about {load.passing(speed, 1.0):.0f} s per epoch of {load.tokens:,} tokens if all layers are trained"
    )
    number = next((number for number in numbers if fitting[number] >= min(epochs, _FEWEST_PASSES)), None)
    needed = load.needed(speed, 1.0, epochs)
    if number is None:
        if fallback:
            return Choice(None, 0.0, f"{situation}, no layer could be trained, so {fallback} is kept", needed)
        number = numbers[-1]
    method = method_that_moves("all") if number == total else method_that_moves("top", n=number)
    passes = max(min(epochs, fitting[number]), _LEAST)
    trained = "all layers" if number == total else "the top layer" if number == 1 else f"the top {number} layers"
    complete = number == total and passes >= epochs
    return Choice(method, passes, f"{situation}, {trained} can be trained for {passes:.1f} epochs", None if complete else needed)
