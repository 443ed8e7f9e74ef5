"""Terms of the loss that keep what a model knows while it learns new rows; knows nothing of how they are chosen.

`Anchor` draws weights to those of the live model, all alike (L2-SP, Li et al. 2018) or by their importance for old rows (EWC, Kirkpatrick
et al. 2017). `Distillation` draws the outputs for old rows to those of the live model (LwF, Li and Hoiem 2016, on replayed rows as in dark
experience replay, Buzzega et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vertune.core.kinds import Task
from vertune.learning.checkpoint import Tensors
from vertune.learning.examples import Examples
from vertune.learning.training_input import TrainingInput
from vertune.nn.build import trainable
from vertune.nn.run import outputs, tensors
from vertune.nn.structure import head_parameters, word_table
from vertune.nn.vertical import VerticalModel

_TEMPERATURE = 2.0
"""Temperature at which probabilities are compared, so that small ones count too."""
_ROWS = 200
"""Largest number of old rows on which the importance of weights is measured."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A penalty on the squared distance of trained weights from those of the live model."""

    weights: Mapping[str, Tensor]
    strength: float
    importance: Mapping[str, Tensor] | None = None
    """How much each weight counts, with mean 1; None counts all alike."""

    def __call__(self, model: VerticalModel) -> Tensor:
        """Return the term for the loss."""
        total = torch.zeros((), device=next(model.parameters()).device)
        for name, parameter in trainable(model).items():
            if name in self.weights:
                squared = (parameter - self.weights[name]).square()
                total = total + (squared if self.importance is None else squared * self.importance[name]).sum()
        return 0.5 * self.strength * total


def anchored(model: VerticalModel, grows: bool) -> Tensors:
    """Return copies of the weights that an anchor holds: all trained ones but word embeddings and, if its head `grows`, the head.

    Word embeddings change only where texts contain the word, so that those of old texts need no anchor.
    """
    table = word_table(model.backbone)
    left_out = set(head_parameters(model)) if grows else set()
    return {
        name: parameter.detach().clone()
        for name, parameter in trainable(model).items()
        if name not in left_out and (table is None or parameter is not table.weight)
    }


def importance(model: VerticalModel, training_input: TrainingInput, rows: NDArray[np.int64], names: Mapping[str, Tensor]) -> Tensors:
    """Return how important each weight is for these rows: the mean squared gradient of the loss (the diagonal Fisher), scaled to mean 1.

    At most 200 of the rows are used, one at a time. `names` has the weights that are meant.
    """
    examples, device = training_input.examples, next(model.parameters()).device
    found = {name: torch.zeros_like(parameter) for name, parameter in names.items()}
    model.eval()
    for feature in examples.rows_of(rows[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(np.int64)]).tolist():
        model.zero_grad(set_to_none=True)
        inputs = tensors(training_input.encoder.collate([examples.features[feature]]), device)
        training_input.task.loss(model(inputs), examples.target([feature]).to(device)).sum().backward()  # type: ignore[no-untyped-call]
        for name, parameter in trainable(model).items():
            if name in found and parameter.grad is not None:
                found[name] += parameter.grad.square()
    model.zero_grad(set_to_none=True)
    total, count = (sum(value) for value in zip(*((float(one.sum()), one.numel()) for one in found.values()), strict=True))
    mean = max(total / count, 1e-20)
    return {name: value / mean for name, value in found.items()}


@dataclass(slots=True)
class Distillation:
    """The loss of the task plus, for replayed rows, the distance of the outputs from those of the live model."""

    task: Task
    examples: Examples
    strength: float
    columns: Sequence[int]
    """The outputs that the live model has too."""
    values: Mapping[int, NDArray[np.float32]]
    """What the live model puts out at these columns, for each feature (model input) of an old row."""
    spread: float
    """Variance of these values, by which squared distances are divided."""

    @classmethod
    def of(
        cls, model: VerticalModel, training_input: TrainingInput, rows: NDArray[np.int64], strength: float, columns: Sequence[int]
    ) -> Distillation:
        """Compute the outputs of the live model for the old rows with these indices; `columns` are the outputs that it has too."""
        examples = training_input.examples
        places = examples.rows_of(rows)
        chosen = [examples.features[place] for place in places]
        found = outputs(model, training_input.encoder, chosen, training_input.config.device.tokens)
        picked = [value[..., list(columns)].astype(np.float32) for value in found]
        values = dict(zip(places.tolist(), picked, strict=True))
        spread = float(np.concatenate([value.ravel() for value in picked]).var())
        return cls(training_input.task, examples, strength, columns, values=values, spread=max(spread, 1e-6))

    def loss(self, model: VerticalModel, inputs: Tensors, rows: Sequence[int]) -> Tensor:
        """Return the loss of each feature (model input) of a batch; `rows` are their indices."""
        found = model(inputs).float()
        own = self.task.loss(found, self.examples.target(rows).to(found.device))
        old = [index for index, row in enumerate(rows) if row in self.values]
        if not old:
            return own
        kept = found[old][..., list(self.columns)]
        expected, mask = self._targets([self.values[rows[index]] for index in old], kept)
        distance = self._distance(kept, expected)
        distance = (distance * mask).sum(1) / mask.sum(1).clamp(min=1) if distance.dim() == 2 else distance
        return own.index_add(0, torch.tensor(old, device=own.device), self.strength * distance)

    @staticmethod
    def _targets(values: Sequence[NDArray[np.float32]], like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values as one tensor, shorter ones padded with zeros, and a mask of what is no padding, shape (rows, positions)."""
        expected = torch.zeros_like(like)
        mask = torch.zeros(like.shape[:-1], device=like.device)
        for index, value in enumerate(values):
            if like.dim() == 3:
                expected[index, : len(value)], mask[index, : len(value)] = torch.from_numpy(value), 1.0
            else:
                expected[index] = torch.from_numpy(value)
        return expected, mask

    def _distance(self, found: Tensor, expected: Tensor) -> Tensor:
        """Return how far outputs are from the expected ones, over the last dimension; for classes, the Kullback-Leibler divergence."""
        if self.task.activation in ("softmax", "tags"):
            wanted = (expected / _TEMPERATURE).softmax(-1)
            divergence = functional.kl_div((found / _TEMPERATURE).log_softmax(-1), wanted, reduction="none").sum(-1)
            return _TEMPERATURE**2 * divergence
        if self.task.activation == "sigmoid":
            wanted = expected.sigmoid()
            least = functional.binary_cross_entropy(wanted, wanted, reduction="none")
            return (functional.binary_cross_entropy_with_logits(found, wanted, reduction="none") - least).sum(-1)
        return (found - expected).square().mean(-1) / self.spread
