"""Computes the gradient of an optimiser step in passes that fit in memory; independent of optimisers and schedules.

The mean loss of a step is a sum over its model inputs, so a step is divided into micro-batches. If the loss compares
the inputs of a batch with each other, such as a contrastive loss, it needs all outputs at once. If the tensors of all
micro-batches don't fit in memory together, the outputs are computed twice (GradCache, Gao et al. 2021): first without the
tensors for a backward pass, which gives the gradient of the loss with respect to each output; then micro-batch by
micro-batch, each followed by its backward pass. The sum is the gradient of the undivided step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.batching.batches import by_tokens
from vertune.learning import memory
from vertune.learning.cache import CachedStates, around
from vertune.learning.training_input import TrainingInput
from vertune.nn.run import tensors
from vertune.nn.vertical import VerticalModel

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(slots=True)
class StepGradients:
    """Adds the gradient of optimiser steps to the gradients of a model's parameters, and keeps to the memory limit."""

    model: VerticalModel
    lesson: TrainingInput
    engine: Accelerator
    below: CachedStates | None
    """Cached outputs of the frozen layers, from which forward passes start."""
    memory: memory.PassMemory

    @classmethod
    def of(cls, model: VerticalModel, lesson: TrainingInput, engine: Accelerator, below: CachedStates | None) -> StepGradients:
        """Measure the memory of one pass, with the weights that are marked for training, and return the computation."""
        encoder, examples = lesson.encoder, lesson.examples

        def run(feature: int) -> torch.Tensor:
            inputs = tensors(encoder.collate([examples.features[feature]]), engine.device)
            with around(engine, below, [feature]):
                out: torch.Tensor = model(inputs)
            return out

        training = model.training
        model.train()
        needed = memory.measure(model, lesson.config, examples.costs, run)
        model.train(training)
        return cls(model, lesson, engine, below, needed)

    @property
    def joint(self) -> bool:
        """Whether the loss compares the model inputs of a step with each other."""
        return self.lesson.objective is None and (self.lesson.task.whole_batch or self.lesson.batch_objective is not None)

    def total(self, features: NDArray[np.int64]) -> float:
        """Return the number by which the sum of the losses of a step is divided: the total weight of its model inputs.

        Where each process computes the loss of the whole step, it is multiplied by their number.
        """
        weight = float(self.lesson.examples.weights[features].sum())
        return weight * self.engine.num_processes if self.joint else weight

    def parts(self, features: NDArray[np.int64]) -> list[list[int]]:
        """Divide the model inputs of a step among the processes; return the micro-batches of this process.

        The inputs are sorted by length and dealt to the processes in turn. Those of this process are divided into
        micro-batches of at most `device.tokens` tokens that fit in memory. If the loss compares the inputs with each
        other, every process gets all of them.
        """
        costs = self.lesson.examples.costs
        order = features[np.argsort(-costs[features], kind="stable")]
        if not self.joint:
            order = order[self.engine.process_index :: self.engine.num_processes]
        return by_tokens(order, costs, self.lesson.config.device.tokens, self.memory.rows)

    def add(self, features: NDArray[np.int64], total: float) -> torch.Tensor:
        """Add the gradient of the losses of a step, divided by `total`, to the parameters; return the sum of these losses."""
        parts = self.parts(features)
        if self.joint and len(parts) > 1:
            fits = self.memory.holds(parts, self.lesson.examples.costs)
            return self._add_together(parts, total) if fits else self._add_joint(parts, total)
        loss = torch.zeros((), device=self.engine.device)
        for part in parts:
            share = self._share(self._losses(part), part, total)
            self.engine.backward(share)
            loss += share.detach()
        return loss

    @torch.no_grad()
    def run(self, features: NDArray[np.int64]) -> None:
        """Run the model on the model inputs of a step, without a backward pass and in the same micro-batches, to measure the time."""
        for part in self.parts(features):
            with around(self.engine, self.below, part):
                self.model(self._inputs(part))

    def _add_together(self, parts: list[list[int]], total: float) -> torch.Tensor:
        """Do the same as `add` for a loss that compares all model inputs, if the tensors of all micro-batches fit in memory together."""
        with self.engine.autocast():  # around all of them, so that the weights are converted once
            together = torch.cat([self._passed(part) for part in parts])
        features = [feature for part in parts for feature in part]
        targets = self.lesson.examples.target(features).to(self.engine.device)
        share = self._share(self._loss(together, targets), features, total)
        self.engine.backward(share)
        return share.detach()

    def _add_joint(self, parts: list[list[int]], total: float) -> torch.Tensor:
        """Do the same as `add` for a loss that compares all model inputs, with two forward passes of each micro-batch.

        Both passes of a micro-batch use the same seed, so that dropout drops the same elements.
        """
        seeds = torch.randint(2**62, (len(parts),)).tolist()
        with torch.no_grad():
            found = [self._outputs(part, seed) for part, seed in zip(parts, seeds, strict=True)]
        together = torch.cat(found).requires_grad_()
        features = [feature for part in parts for feature in part]
        targets = self.lesson.examples.target(features).to(self.engine.device)
        share = self._share(self._loss(together, targets), features, total)
        self.engine.backward(share)
        assert together.grad is not None
        gradients = torch.split(together.grad, [len(part) for part in parts])
        for part, seed, gradient in zip(parts, seeds, gradients, strict=True):
            torch.autograd.backward(self._outputs(part, seed), gradient)
        return share.detach()

    def _outputs(self, features: Sequence[int], seed: int) -> torch.Tensor:
        """Run the model on one micro-batch in the mode of training; random numbers begin at `seed`."""
        torch.manual_seed(seed)
        return self._passed(features)

    def _passed(self, features: Sequence[int]) -> torch.Tensor:
        """Run the model on one micro-batch in the mode of training; return what the loss compares."""
        with around(self.engine, self.below, features):
            return self._compared(self._inputs(features))

    def _compared(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return what the loss compares: the vectors of `lesson.batch_objective` if given, else the outputs of the model."""
        special = self.lesson.batch_objective
        out: torch.Tensor = special.outputs(self.model, inputs) if special else self.model(inputs)
        return out.float()

    def _loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each model input of a batch, computed by `lesson.batch_objective` if given, else by the task."""
        special = self.lesson.batch_objective
        return special.loss(outputs, targets) if special else self.lesson.task.loss(outputs, targets)

    def _losses(self, features: Sequence[int]) -> torch.Tensor:
        """Return the loss of each model input of a batch, computed by `lesson.objective` if given, else by the task."""
        inputs = self._inputs(features)
        with around(self.engine, self.below, features):
            if self.lesson.objective:
                return self.lesson.objective(self.model, inputs, features)
            targets = self.lesson.examples.target(features).to(self.engine.device)
            return self._loss(self._compared(inputs), targets)

    def _inputs(self, features: Sequence[int]) -> dict[str, torch.Tensor]:
        examples = self.lesson.examples
        return tensors(self.lesson.encoder.collate([examples.features[feature] for feature in features]), self.engine.device)

    def _share(self, losses: torch.Tensor, features: Sequence[int], total: float) -> torch.Tensor:
        """Return the weighted sum of the losses of model inputs, divided by `total`."""
        weights = torch.from_numpy(self.lesson.examples.weights[list(features)]).to(self.engine.device, torch.float32)
        return (losses * weights).sum() / total
