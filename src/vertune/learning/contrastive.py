"""The objective `contrastive`: rows with similar targets get similar states, and the head is fitted on them afterwards.

The loss is the supervised contrastive loss (Khosla et al. 2020) of the states that enter the head. The batch is the
whole training set where it is small, so that each row is compared with each other in one matrix product, without lists
of pairs as in SetFit (Tunstall et al. 2022). Independent of methods: any of them may move the layers below the head.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from vertune.core.errors import ConfigError
from vertune.core.kinds import Task
from vertune.learning import probe
from vertune.learning.checkpoint import Tensors
from vertune.learning.defaults import Rates
from vertune.learning.training_input import BatchObjective, TrainingInput
from vertune.nn import contrastive
from vertune.nn.vertical import VerticalModel

EPOCHS = 30.0
"""Number of epochs for `training.epochs: auto`; an epoch is one step if all rows are in one batch."""
BATCH = 2048
"""Largest number of rows in a step."""
RATE = 0.5
"""Learning rate, relative to that of the loss of the task on few rows."""
_TEMPERATURE = 0.1


def prepared(training_input: TrainingInput) -> TrainingInput:
    """Return the input of the training loop with this objective, and with all rows in one batch, but at most 2,048."""
    config, task = training_input.config, training_input.task
    training = config.training
    epochs = EPOCHS if training.epochs == "auto" else training.epochs
    changed = training.model_copy(update={"batch": min(BATCH, len(training_input.examples)), "epochs": epochs})
    return replace(training_input, config=config.model_copy(update={"training": changed}), batch_objective=objective(task))


def objective(task: Task) -> BatchObjective:
    """Return the loss, which compares the directions of the states that enter the head."""

    def states(model: VerticalModel, inputs: Tensors) -> torch.Tensor:
        return functional.normalize(model.states(inputs).float(), dim=-1)

    def loss(vectors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return contrastive.supervised(vectors, task.likeness(targets), _TEMPERATURE)

    return BatchObjective(states, loss)


def rates(usual: Rates) -> Rates:
    """Return the learning rates of this objective, from those of the loss of the task."""
    return Rates(usual.body * RATE, usual.head * RATE)


def check(training_input: TrainingInput) -> None:
    """Raise ConfigError if the objective can't be used with the task or the pooling of this training."""
    task = training_input.task
    if not task.compares_targets or training_input.encoder.pooling_of(task.states) not in ("mean", "cls"):
        raise ConfigError(
            f"The setting 'training.objective: contrastive' can't be used with the task '{task.name}' and this pooling: it needs one state "
            "per model input, and labels that can be compared. Set training.objective: labels."
        )


def fit_head(model: VerticalModel, training_input: TrainingInput) -> None:
    """Fit the linear head on the states of the trained model, as a linear probe; the cache has states of the unchanged base only."""
    frozen = probe.freeze(model, replace(training_input, cache=None))
    probe.solve(frozen, training_input.task, training_input.task.size, follows=False).copy_to(model.head)
