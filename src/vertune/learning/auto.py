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
from vertune.core import part
from vertune.core.config import Config
from vertune.core.kinds import Method
from vertune.core.parse import build
from vertune.learning.loop import Lesson, accelerator
from vertune.nn.run import tensors
from vertune.nn.structure import count, shares_layers
from vertune.nn.vertical import Vertical

CPU_LIMIT = 180.0
"""Seconds that `auto` takes on a CPU where the config says nothing."""
_FEWEST_PASSES = 1.5
_MARGIN = 0.85
"""Share of the time left that is planned for; the rest is for validation, saving, and a machine that slows down."""
_MEASURED_STEPS = 4
_LEAST = 1e-3
"""Passes where none fits and something must be learnt: one step."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds a token on this machine."""

    forward: float
    full: float
    """Forward and backward through every layer."""

    def passing(self, share: float) -> float:
        """Seconds a token when this share of the layers learns."""
        return self.forward + (self.full - self.forward) * share


@dataclass(frozen=True, slots=True)
class Choice:
    """What auto decided."""

    method: Method | None
    """None keeps what stands already."""
    epochs: float
    why: str
    """The reason in words, for the report."""


def limit(config: Config) -> float:
    """Seconds that auto may take."""
    return config.training.time_limit or CPU_LIMIT


def measure(model: Vertical, lesson: Lesson, forward: float) -> Speed:
    """Time passes of a few typical micro-batches, those without gradients where `forward` is 0; the weights stay as they are."""
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
    seconds, alone, count = 0.0, 0.0, 0
    for chosen in batch:
        inputs = tensors(encoder.collate([examples.features[feature] for feature in chosen]), engine.device)
        targets = examples.target(chosen, inputs["input_ids"].shape[1]).to(engine.device)
        for warm in (False, True):  # the first time that a shape is seen, kernels are made for it
            started = time.perf_counter()
            with engine.autocast():
                loss = task.loss(model(inputs).float(), targets).mean()
            engine.backward(loss)
            model.zero_grad(set_to_none=True)
            seconds += (time.perf_counter() - started) * warm
        if not forward:
            started = time.perf_counter()
            with torch.no_grad(), engine.autocast():
                model(inputs)
            alone += time.perf_counter() - started
        count += int(examples.costs[chosen].sum())
    forward = forward or alone / max(1, count)
    return Speed(forward, max(seconds / max(1, count) * 1.1, forward))  # a tenth more for the optimiser's step


def fit_in(method: Method, tokens: int, speed: Speed, left: float, epochs: float) -> Choice:
    """A method that was asked for, with as many passes as fit in the seconds left, at the speed of training all layers."""
    passes = left * _MARGIN / (tokens * speed.full)
    if passes >= epochs:
        return Choice(method, epochs, f"all {epochs:g} passes fit in the {left:.0f} s that were left")
    return Choice(method, max(passes, _LEAST), f"{left:.0f} s were left, which is enough for {passes:.2f} of {epochs:g} passes")


def choose(model: Vertical, tokens: int, speed: Speed, left: float, epochs: float, stands: str | None = "the solved head") -> Choice:
    """The deepest method that can make enough passes over this many tokens in the seconds left.

    Where none can, what `stands` is kept; where nothing does, the shallowest makes what passes it can.
    """
    total = count(model.backbone)
    numbers = [total, *([] if shares_layers(model.backbone) else range(total - 1, 0, -1))]
    fitting = {number: left * _MARGIN / (tokens * speed.passing(number / total)) for number in numbers}
    said = f"{left:.0f} s were left; one pass over {tokens:,} tokens with every layer takes about {tokens * speed.full:.0f} s here"
    number = next((number for number in numbers if fitting[number] >= min(epochs, _FEWEST_PASSES)), None)
    if number is None:
        if stands:
            return Choice(None, 0.0, f"{said}, so no layer could be trained and {stands} stands")
        number = numbers[-1]
    name = "full" if number == total else "top_layers"
    method = build(part.find("methods", name), {} if number == total else {"n": number})
    assert isinstance(method, Method)
    passes = max(min(epochs, fitting[number]), _LEAST)
    return Choice(method, passes, f"{said}, so {name if number == total else f'the top {number} layers'} for {passes:.1f} passes")
