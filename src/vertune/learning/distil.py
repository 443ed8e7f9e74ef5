"""Teaches one model what another says: its outputs, and the states that they are read from; knows nothing of compression.

What the teacher says is computed once. The loss is the squared distance of outputs (the logits, as Ba & Caruana 2014 and
TinyBERT, Jiao et al. 2020, have it) and of the states under the head, each in units of its own spread over the records.
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
from vertune.learning.loop import Plan, TrainingInput, accelerator, run_loop, steps_of
from vertune.learning.threads import use_threads
from vertune.nn.run import outputs, tensors
from vertune.nn.vertical import VerticalModel

_RATE = 2e-4
"""Of width 384; a student of few layers takes a larger step than fine-tuning does, because nothing noisy pulls at it."""
_TOKENS = 8192
_MEMORY = 2_000_000_000
"""Bytes that a teacher's words may take."""


@dataclass(slots=True)
class TeacherOutputs:
    """What a teacher says of each feature: outputs and, beside them, the states under the head; one row, or one a token."""

    values: list[NDArray[np.float16]]
    size: int
    """How many of the numbers are outputs."""
    spread: tuple[float, float]
    """Variance of outputs and of states."""
    states: bool = True
    """Whether the states are among the values."""

    def loss(self, model: VerticalModel, inputs: dict[str, Tensor], rows: Sequence[int]) -> Tensor:
        """The distance of each feature, shape (features,)."""
        found = (outputs_and_states if self.states else _outputs)(model, inputs).float()
        wanted = torch.zeros_like(found)
        seen = torch.zeros(found.shape[:-1], device=found.device)
        for place, row in enumerate(rows):
            value = torch.from_numpy(self.values[row].astype(np.float32))
            if found.dim() == 3:
                wanted[place, : len(value)], seen[place, : len(value)] = value, 1.0
            else:
                wanted[place], seen[place] = value, 1.0
        far = (found - wanted).square()
        each = far[..., : self.size].mean(-1) / self.spread[0]
        if far.shape[-1] > self.size:
            each = each + far[..., self.size :].mean(-1) / self.spread[1]
        each = each * seen
        return each.sum(1) / seen.sum(1).clamp(min=1) if each.dim() == 2 else each


def outputs_and_states(model: VerticalModel, inputs: dict[str, Tensor]) -> Tensor:
    """Outputs, with the states that they are read from behind them; outputs alone where the head is the family's own."""
    if model.native is not None:
        out: Tensor = model(inputs)
        return out
    states = model.states(inputs)
    return torch.cat([model.head(states), states], dim=-1)


@dataclass(frozen=True, slots=True)
class DistillationInput:
    """What a student learns from."""

    config: Config
    """The settings that the loop runs by."""
    records: Sequence[Record]
    """Records that need no labels."""
    columns: Sequence[str]
    """The columns of the task that they may have."""
    epochs: float
    folder: Path | None = None
    """Where a checkpoint lies from which a killed learning goes on; None keeps none."""


def distil(student: StandaloneModel, teacher: StandaloneModel, lessons: DistillationInput, progress: Progress) -> None:
    """Move all weights of the student until it says what the teacher says; the teacher stays as it is."""
    config, records, columns = lessons.config, lessons.records, lessons.columns
    use_threads(config.device.threads)
    inputs = {column.name for column in student.task.columns if column.role == "input"}
    bare = [{name: value for name, value in record.items() if name in inputs} for record in records]
    views = student.task.views(columns)
    features = student.encoder.encode(bare, views)
    taught = teacher.encoder.encode(bare, views)
    _check(features, taught, student.task.states == "tokens")
    said = _said(teacher, taught, accelerator(config).device)
    members, siblings = by_record(features, len(bare))
    costs = np.array([feature.cost for feature in features], dtype=np.int64)
    examples = Examples(bare, features, members, None, costs, 1.0 / siblings, None, False)  # type: ignore[arg-type]
    method = method_that_moves("all")
    torch.manual_seed(config.seed)
    method.prepare(student.body, student.task, 1)
    rate = _RATE * min(1.0, 384 / student.body.width) ** 2
    steps = steps_of(config, len(bare), lessons.epochs)
    lesson = TrainingInput(config, student.task, student.encoder, examples, None, progress, lessons.folder, objective=said.loss)
    run_loop(student.body, Plan(method, Rates(rate, rate), steps, lessons.epochs), lesson)
    student.body.to("cpu").requires_grad_(False)


def _check(features: Sequence[Feature], taught: Sequence[Feature], tokens: bool) -> None:
    """ConfigError where student and teacher don't read the same sequences, so that one can't be told what the other says."""
    same = len(features) == len(taught) and all(a.record == b.record and a.role == b.role for a, b in zip(features, taught, strict=True))
    if not same or (tokens and any(a.positions != b.positions for a, b in zip(features, taught, strict=True))):
        raise ConfigError(
            "The student's base cuts texts into other tokens than the model's, and this task answers token by token or window by "
            "window. Choose a base with the same tokenizer, or distill into fewer layers of the model itself."
        )


def _said(teacher: StandaloneModel, features: Sequence[Feature], device: torch.device) -> TeacherOutputs:
    """What the teacher says of its features, outputs alone where states of every token would take too much memory."""
    model: VerticalModel = teacher.body.to(device).eval()
    size = outputs(model, teacher.encoder, features[:1])[0].shape[-1]
    each = model.pooling == "tokens"
    numbers = (sum(feature.positions for feature in features) if each else len(features)) * (size + model.width)
    shown = outputs_and_states if 2 * numbers <= _MEMORY else _outputs

    def forward(rows: Sequence[int], arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
        with torch.no_grad():
            found: NDArray[Any] = shown(model, tensors(arrays, device)).float().cpu().numpy().astype(np.float16)
        return found

    values = batches.outputs(teacher.encoder, features, _TOKENS, forward)
    model.to("cpu")
    some = np.concatenate([value.reshape(-1, value.shape[-1]) for value in values[:2000]]).astype(np.float64)
    spread = some.var(0)
    parts = (spread[:size].mean(), spread[size:].mean() if len(spread) > size else 1.0)
    return TeacherOutputs(values, size, (max(parts[0], 1e-6), max(parts[1], 1e-6)), shown is outputs_and_states)


def _outputs(model: VerticalModel, inputs: dict[str, Tensor]) -> Tensor:
    """Outputs alone."""
    out: Tensor = model(inputs)
    return out
