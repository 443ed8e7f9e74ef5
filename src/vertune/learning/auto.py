"""Implements `method: auto`, which chooses a fine-tuning method that fits in the remaining time; reads and writes no files.

A linear probe (a linear head on the unchanged base model) is fitted first (Kumar et al. 2022). Then the speed of
training is measured on this machine. If enough epochs fit in the remaining time, the model is trained: all layers
(method `full`) if possible, else as many of the last layers as possible (method `top_layers`). The trained model is
kept unless it is worse than the probe on the validation records by more than one standard error of the difference.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from vertune.batching.batches import by_tokens
from vertune.core.kinds import Method, method_that_moves
from vertune.learning.loop import TrainingInput, accelerator
from vertune.nn.run import tensors
from vertune.nn.structure import count, shares_layers, word_table
from vertune.nn.vertical import VerticalModel

CPU_LIMIT = 180.0
"""Time limit of `auto` on a CPU, in seconds, if the config sets none."""
_FEWEST_PASSES = 1.5
"""A method is chosen only if this many epochs fit in the remaining time, or all configured epochs if those are fewer."""
_MARGIN = 0.85
"""Fraction of the remaining time that training may be planned to use; the rest is a reserve, e.g. for a slower machine."""
_MEASURED_STEPS = 4
"""Number of training batches on which the speed is measured."""
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


@dataclass(frozen=True, slots=True)
class Choice:
    """What to train in the remaining time: the method, the number of epochs, and the reason for this choice."""

    method: Method | None
    """The method to train with; None trains nothing and keeps the current model."""
    epochs: float
    why: str
    """The reason for the choice, which the report shows."""


def measure(model: VerticalModel, lesson: TrainingInput) -> StepTimes:
    """Measure the speed of training with a few typical micro-batches and one optimiser step, without changing the weights."""
    examples, encoder, task = lesson.examples, lesson.encoder, lesson.task
    engine = accelerator(lesson.config)
    model.to(engine.device).train()
    rows = np.random.default_rng(0).permutation(len(examples))[: lesson.config.training.batch * _MEASURED_STEPS]
    features = examples.rows_of(rows)
    order = features[np.argsort(-examples.costs[features], kind="stable")]
    batch = (
        [order.tolist()]
        if task.whole_batch
        else by_tokens(order, examples.costs, lesson.config.device.tokens, lesson.config.training.batch)
    )
    full, forward, tokens = 0.0, 0.0, 0
    for chosen in batch:
        inputs = tensors(encoder.collate([examples.features[feature] for feature in chosen]), engine.device)
        targets = examples.target(chosen).to(engine.device)
        times = []
        for _ in range(3):
            started = time.perf_counter()
            with engine.autocast():
                loss = task.loss(model(inputs).float(), targets).mean()
            engine.backward(loss)
            times.append(time.perf_counter() - started)
            model.zero_grad(set_to_none=True)
        full += min(times[1:])  # the first pass of a new shape also prepares kernels; noise only ever adds time
        started = time.perf_counter()
        with torch.no_grad(), engine.autocast():
            model(inputs)
        forward += time.perf_counter() - started
        tokens += int(examples.costs[chosen].sum())
    return StepTimes(forward / max(1, tokens), max(full, forward) / max(1, tokens), _update(model))


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
    started = time.perf_counter()
    optimiser.step()
    return time.perf_counter() - started


def fit_in(method: Method, model: VerticalModel, load: Workload, speed: StepTimes, left: float, epochs: float) -> Choice:
    """Choose the number of epochs for a method that the config sets: as many of the `epochs` as fit in `left` seconds."""
    total = count(model.backbone)
    passes = load.passes(speed, min(total, max(1, total + 1 - method.depth(total))) / total, left)
    if passes >= epochs:
        return Choice(method, epochs, f"all {epochs:g} epochs fit in the remaining {left:.0f} s")
    return Choice(method, max(passes, _LEAST), f"the remaining {left:.0f} s suffice for {passes:.2f} of {epochs:g} epochs")


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
    if number is None:
        if fallback:
            return Choice(None, 0.0, f"{situation}, no layer could be trained, so {fallback} is kept")
        number = numbers[-1]
    method = method_that_moves("all") if number == total else method_that_moves("top", n=number)
    passes = max(min(epochs, fitting[number]), _LEAST)
    trained = "all layers" if number == total else f"the top {number} layers"
    return Choice(method, passes, f"{situation}, {trained} can be trained for {passes:.1f} epochs")
