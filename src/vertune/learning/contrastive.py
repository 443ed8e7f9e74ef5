"""The objective `contrastive`: rows with similar targets get similar states, and the head is fitted on them afterwards.

The loss is the supervised contrastive loss (Khosla et al. 2020) of the states that enter the head. The batch is the
whole training set where it is small, so that each row is compared with each other in one matrix product, without lists
of pairs as in SetFit (Tunstall et al. 2022). Independent of methods: any of them may move the layers below the head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch.nn import functional

from vertune.core.errors import ConfigError
from vertune.core.kinds import Method, Task
from vertune.learning import probe
from vertune.learning.checkpoint import Tensors
from vertune.learning.defaults import Rates
from vertune.learning.loop import LoopResult
from vertune.learning.training_input import BatchObjective, TrainingInput
from vertune.nn import contrastive
from vertune.nn.vertical import VerticalModel

EPOCHS = 30.0
"""Number of epochs for `training.epochs: auto`; an epoch is one step if all rows are in one batch."""
BATCH = 2048
"""Largest number of rows in a step."""
RATE = 0.5
"""Learning rate, relative to that of the loss of the task on few rows."""
FITS = 3
"""Number of trainings with other random numbers, whose weights are averaged: on few rows, single ones differ by points."""
_NEXT_FIT = 1_000_003
"""Difference between the seeds of two trainings, so that they don't meet the seeds that users try."""
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


def fits_of(method: Method) -> int:
    """Return how many trainings are averaged: one if the method adds weights, because factors of a product have no useful mean."""
    return FITS if method.moves in ("top", "all") else 1


def averaged(parameters: Mapping[str, torch.nn.Parameter], fits: int, run: Callable[[int], LoopResult]) -> LoopResult:
    """Train several times from the same weights, and set the weights to the mean (a uniform soup, Wortsman et al. 2022).

    `run` trains these parameters in place; it is called with the number of the training, from 0.
    """
    if fits == 1:
        return run(0)
    start = [parameter.detach().clone() for parameter in parameters.values()]
    total = [torch.zeros_like(value) for value in start]
    late = False
    for number in range(fits):
        with torch.no_grad():
            for parameter, value in zip(parameters.values(), start, strict=True):
                parameter.copy_(value)
        result = run(number)
        late |= result.late
        with torch.no_grad():
            for value, parameter in zip(total, parameters.values(), strict=True):
                value += parameter
    with torch.no_grad():
        for parameter, value in zip(parameters.values(), total, strict=True):
            parameter.copy_(value / fits)
    return replace(result, late=late)


def of_fit(training_input: TrainingInput, number: int) -> TrainingInput:
    """Return the input of one of several trainings: the first has the seed of the config, and each has checkpoints of its own."""
    config, folder = training_input.config, training_input.folder
    return replace(
        training_input, config=config.model_copy(update={"seed": config.seed + _NEXT_FIT * number}), folder=folder and folder / str(number)
    )


def fit_head(model: VerticalModel, training_input: TrainingInput) -> None:
    """Fit the linear head on the states of the trained model, as a linear probe; the cache has states of the unchanged base only."""
    frozen = probe.freeze(model, replace(training_input, cache=None))
    probe.solve(frozen, training_input.task, training_input.task.size, follows=False).copy_to(model.head)
