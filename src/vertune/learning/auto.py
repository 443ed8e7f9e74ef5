"""`method: auto`: which method fits the time that is left, by the speed measured here; knows nothing of files.

The head is solved first (Kumar et al. 2022). Then the deepest of `full` and `top_layers` that can make enough passes in
the time that is left is trained, and the better of the two on validation is kept.
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
"""Seconds that `auto` takes on a CPU where the config says nothing."""
_FEWEST_PASSES = 1.5
_MARGIN = 0.85
"""Share of the time left that is planned for; the rest is for validation, saving, and a machine that slows down."""
_MEASURED_STEPS = 4
_LEAST = 1e-3
"""Passes where none fits and something must be learnt: one step."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of the pieces that a training is made of, on this machine."""

    forward: float
    """A token through every layer, without gradients."""
    full: float
    """A token forward and backward through every layer."""
    update: float = 0.0
    """A step of the optimiser that moves every layer."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What one pass over the data is made of."""

    tokens: int
    steps: int = 0
    watched: int = 0
    """Tokens of validation that are read for each pass."""
    remembered: bool = False
    """Whether the states of layers that don't move are computed once."""

    def once(self, speed: StepTimes, share: float) -> float:
        """Seconds before the first pass when this share of the layers learns."""
        return (self.tokens + self.watched) * speed.forward * (1 - share) * self.remembered

    def passing(self, speed: StepTimes, share: float) -> float:
        """Seconds of one pass."""
        below = 0.0 if self.remembered else speed.forward * (1 - share)
        learning = self.tokens * (below + speed.full * share) + self.steps * speed.update * share
        return learning + self.watched * (below + speed.forward * share)

    def passes(self, speed: StepTimes, share: float, left: float) -> float:
        """How many passes fit in the seconds left."""
        return max(0.0, left * _MARGIN - self.once(speed, share)) / self.passing(speed, share)


@dataclass(frozen=True, slots=True)
class Choice:
    """What auto decided."""

    method: Method | None
    """None keeps what stands already."""
    epochs: float
    why: str
    """The reason in words, for the report."""


def measure(model: VerticalModel, lesson: TrainingInput) -> StepTimes:
    """Time passes of a few typical micro-batches, and a step of the optimiser; the weights stay as they are."""
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
        full += min(times[1:])  # the first time that a shape is seen, kernels are made for it; noise only ever adds
        started = time.perf_counter()
        with torch.no_grad(), engine.autocast():
            model(inputs)
        forward += time.perf_counter() - started
        tokens += int(examples.costs[chosen].sum())
    return StepTimes(forward / max(1, tokens), max(full, forward) / max(1, tokens), _update(model))


def _update(model: VerticalModel) -> float:
    """Seconds of a step of AdamW over all layers, at a rate of 0."""
    table = word_table(model.backbone)
    copies = [item.detach().clone() for item in model.backbone.parameters() if table is None or item is not table.weight]
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    optimiser = torch.optim.AdamW(copies, lr=0.0, fused=True)
    optimiser.step()  # makes the moments
    started = time.perf_counter()
    optimiser.step()
    return time.perf_counter() - started


def fit_in(method: Method, model: VerticalModel, load: Workload, speed: StepTimes, left: float, epochs: float) -> Choice:
    """A method that was asked for, with as many passes as fit in the seconds left."""
    total = count(model.backbone)
    passes = load.passes(speed, min(total, max(1, total + 1 - method.depth(total))) / total, left)
    if passes >= epochs:
        return Choice(method, epochs, f"all {epochs:g} passes fit in the {left:.0f} s that were left")
    return Choice(method, max(passes, _LEAST), f"{left:.0f} s were left, which is enough for {passes:.2f} of {epochs:g} passes")


def choose(
    model: VerticalModel, load: Workload, speed: StepTimes, left: float, epochs: float, stands: str | None = "the solved head"
) -> Choice:
    """The deepest method that can make enough passes in the seconds left.

    Where none can, what `stands` is kept; where nothing does, the shallowest makes what passes it can.
    """
    total = count(model.backbone)
    numbers = [total, *([] if shares_layers(model.backbone) else range(total - 1, 0, -1))]
    fitting = {number: load.passes(speed, number / total, left) for number in numbers}
    said = (
        f"{left:.0f} s were left; one pass over {load.tokens:,} tokens with every layer takes about {load.passing(speed, 1.0):.0f} s here"
    )
    number = next((number for number in numbers if fitting[number] >= min(epochs, _FEWEST_PASSES)), None)
    if number is None:
        if stands:
            return Choice(None, 0.0, f"{said}, so no layer could be trained and {stands} stands")
        number = numbers[-1]
    method = method_that_moves("all") if number == total else method_that_moves("top", n=number)
    passes = max(min(epochs, fitting[number]), _LEAST)
    return Choice(method, passes, f"{said}, so {method.name if number == total else f'the top {number} layers'} for {passes:.1f} passes")
