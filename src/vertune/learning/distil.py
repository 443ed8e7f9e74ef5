"""Distillation: trains a student model to reproduce the outputs and hidden states of a teacher model.

The teacher's outputs are computed once, before training. The loss has two terms: the squared distance of the outputs
(logits, as in Ba & Caruana 2014 and TinyBERT, Jiao et al. 2020), and the squared distance of the hidden states that
enter the head. Each term is divided by the variance of the teacher's values, so that both terms have about the same
weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vertune.batching import batches
from vertune.core.artifact import Progress
from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.kinds import StandaloneModel, method_that_moves
from vertune.core.records import Feature, Record
from vertune.learning.defaults import Rates
from vertune.learning.examples import Examples, by_record
from vertune.learning.loop import Plan, accelerator, run_loop, steps_of
from vertune.learning.threads import use_threads
from vertune.learning.training_input import TrainingInput
from vertune.nn.run import outputs, tensors
from vertune.nn.vertical import VerticalModel

_RATE = 2e-4
"""Learning rate at width 384: larger than in fine-tuning, because the teacher's outputs are less noisy targets than labels."""
_TOKENS = 2048
"""Largest number of tokens, padding included, in one batch of the teacher."""
_MEMORY = 2_000_000_000
"""Largest total size of the teacher's outputs and hidden states in memory, in bytes."""


@dataclass(slots=True)
class TeacherOutputs:
    """The targets of a distillation: for each model input, the teacher's outputs and the hidden states that enter its head."""

    values: list[NDArray[np.float16]]
    """For each model input, a vector of the outputs followed by the hidden states, or one such vector per token."""
    size: int
    """Number of outputs at the start of each vector; the hidden states follow."""
    spread: tuple[float, float]
    """Variance of the outputs and of the hidden states, by which the squared distances are divided."""
    states: bool = True
    """Whether `values` contain the hidden states."""

    def loss(self, model: VerticalModel, inputs: dict[str, Tensor], rows: Sequence[int]) -> Tensor:
        """Return the loss of each model input of a batch: how far the student's outputs and hidden states are from the teacher's.

        `model` is the student; `rows` contains, for each input of the batch, its index in `values`.
        """
        outputs = (outputs_and_states if self.states else _outputs)(model, inputs).float()
        targets = torch.zeros_like(outputs)
        mask = torch.zeros(outputs.shape[:-1], device=outputs.device)
        for index, row in enumerate(rows):
            value = torch.from_numpy(self.values[row].astype(np.float32))
            if outputs.dim() == 3:
                targets[index, : len(value)], mask[index, : len(value)] = value, 1.0
            else:
                targets[index], mask[index] = value, 1.0
        squared = (outputs - targets).square()
        distance = squared[..., : self.size].mean(-1) / self.spread[0]
        if squared.shape[-1] > self.size:
            distance = distance + squared[..., self.size :].mean(-1) / self.spread[1]
        distance = distance * mask
        return distance.sum(1) / mask.sum(1).clamp(min=1) if distance.dim() == 2 else distance


def outputs_and_states(model: VerticalModel, inputs: dict[str, Tensor]) -> Tensor:
    """Run the model; return its outputs and the hidden states that enter its head, concatenated on the last axis.

    If the head is the one that the transformers library defines (`pooling: native`), return only the outputs.
    """
    if model.native is not None:
        out: Tensor = model(inputs)
        return out
    states = model.states(inputs)
    return torch.cat([model.head(states), states], dim=-1)


@dataclass(frozen=True, slots=True)
class DistillationInput:
    """The training records and settings of a distillation."""

    config: Config
    records: Sequence[Record]
    """The records to train on; their labels are ignored."""
    columns: Sequence[str]
    """Names of the task's columns that the records may contain."""
    epochs: float
    folder: Path | None = None
    """Folder for checkpoints; if it is None, no checkpoints are written."""


def distil(student: StandaloneModel, teacher: StandaloneModel, lessons: DistillationInput, progress: Progress) -> None:
    """Train all weights of the student to reproduce what the teacher computes; the teacher is not changed.

    Raises ConfigError if the two models split texts into different tokens, so that their outputs can't be compared.
    """
    config, records, columns = lessons.config, lessons.records, lessons.columns
    use_threads(config.device.threads)
    inputs = {column.name for column in student.task.input_columns}
    bare = [{name: value for name, value in record.items() if name in inputs} for record in records]
    views = student.task.views(columns)
    features = student.encoder.encode(bare, views)
    teacher_features = teacher.encoder.encode(bare, views)
    _check(features, teacher_features, student.task.states == "tokens")
    teacher_outputs = _teacher_outputs(teacher, teacher_features, accelerator(config).device)
    members, siblings = by_record(features, len(bare))
    costs = np.array([feature.cost for feature in features], dtype=np.int64)
    examples = Examples(
        records=bare, features=features, members=members, targets=None, costs=costs, weights=1.0 / siblings,  # type: ignore[arg-type]
        sampling=None, per_token=False,
    )  # fmt: skip
    method = method_that_moves("all")
    torch.manual_seed(config.seed)
    method.prepare(student.body, student.task, 1)
    rate = _RATE * min(1.0, 384 / student.body.width) ** 2
    steps = steps_of(config, len(bare), lessons.epochs)
    training_input = TrainingInput(
        config=config, task=student.task, encoder=student.encoder, examples=examples, score=None, progress=progress,
        folder=lessons.folder, objective=teacher_outputs.loss,
    )  # fmt: skip
    run_loop(student.body, Plan(method, Rates(rate, rate), steps, lessons.epochs), training_input)
    student.body.to("cpu").requires_grad_(False)


def _check(features: Sequence[Feature], teacher_features: Sequence[Feature], tokens: bool) -> None:
    """Raise ConfigError if the outputs of student and teacher can't be compared, because their model inputs differ.

    `features` and `teacher_features` are the inputs that the two make from the same records. Both lists must contain
    the same pieces of the records; if `tokens` is true, because the task has one output per token, both must also have
    equal numbers of tokens.
    """
    same = len(features) == len(teacher_features) and all(
        a.record == b.record and a.role == b.role for a, b in zip(features, teacher_features, strict=True)
    )
    if not same or (tokens and any(a.positions != b.positions for a, b in zip(features, teacher_features, strict=True))):
        raise ConfigError(
            "The base model of the student splits texts into other tokens than the model to be distilled, so the outputs of the two "
            "can't be compared. For this task, both must use the same tokens, or cut long texts into the same pieces. Choose a base "
            "with the same tokenizer, or omit the option 'base' to distil into a copy of the model with fewer layers."
        )


def _teacher_outputs(teacher: StandaloneModel, features: Sequence[Feature], device: torch.device) -> TeacherOutputs:
    """Compute the targets of the distillation: the teacher's outputs, and the hidden states that enter its head.

    The hidden states are omitted if both would take more than 2 GB of memory.
    """
    model: VerticalModel = teacher.body.to(device).eval()
    size = outputs(model, teacher.encoder, features[:1])[0].shape[-1]
    each = model.pooling == "tokens"
    numbers = (sum(feature.positions for feature in features) if each else len(features)) * (size + model.width)
    shown = outputs_and_states if 2 * numbers <= _MEMORY else _outputs

    def forward(rows: Sequence[int], arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
        with torch.no_grad():
            rows_of_outputs: NDArray[Any] = shown(model, tensors(arrays, device)).float().cpu().numpy().astype(np.float16)
        return rows_of_outputs

    values = batches.outputs(teacher.encoder, features, _TOKENS, forward)
    model.to("cpu")
    some = np.concatenate([value.reshape(-1, value.shape[-1]) for value in values[:2000]]).astype(np.float64)
    spread = some.var(0)
    parts = (spread[:size].mean(), spread[size:].mean() if len(spread) > size else 1.0)
    return TeacherOutputs(values, size, (max(parts[0], 1e-6), max(parts[1], 1e-6)), shown is outputs_and_states)


def _outputs(model: VerticalModel, inputs: dict[str, Tensor]) -> Tensor:
    """Run the model and return only its outputs, without hidden states."""
    out: Tensor = model(inputs)
    return out
