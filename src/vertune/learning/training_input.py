"""What a training run needs besides the model; independent of how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.core.artifact import Progress
from vertune.core.config import Config
from vertune.core.kinds import Encoder, Task
from vertune.learning.cache import CachedStates, TrunkCache
from vertune.learning.checkpoint import Tensors
from vertune.learning.examples import Examples
from vertune.nn.vertical import VerticalModel

Score = Callable[[], float]
"""A function that returns the task's main metric on validation with the current weights, negated if lower is better."""
Objective = Callable[[VerticalModel, Tensors, Sequence[int]], torch.Tensor]
"""A function that returns the loss of each feature (model input) of a batch, given the model, its inputs and the features' indices."""

Penalty = Callable[[VerticalModel], torch.Tensor]
"""A function that returns a term of the loss that depends on the weights alone; it is added once per optimiser step."""


@dataclass(frozen=True, slots=True)
class BatchObjective:
    """A loss that compares all features (model inputs) of a step with each other, to use instead of the task's loss."""

    outputs: Callable[[VerticalModel, Tensors], torch.Tensor]
    """Returns the vector of each feature that the loss compares, given the model and its inputs."""
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """Returns the loss of each feature, given the vectors and the targets of all features of the step."""


@dataclass(slots=True)
class TrainingInput:
    """Everything that a training run needs besides the model and the `Plan`, such as the encoded examples."""

    config: Config
    task: Task
    encoder: Encoder
    examples: Examples
    score: Score | None
    progress: Progress
    folder: Path | None = None
    """Folder for checkpoints; if it is None, no checkpoints are written."""
    cache: TrunkCache | None = None
    """Disk cache of the outputs of frozen layers; if it is None, they are computed in every epoch."""
    below: CachedStates | None = None
    """Cached outputs of the frozen layers for these examples, from which forward passes start."""
    objective: Objective | None = None
    """Loss function to use instead of the task's loss."""
    batch_objective: BatchObjective | None = None
    """Loss function that compares the rows of a step with each other, to use instead of the task's loss."""
    penalties: Sequence[Penalty] = ()
    """Terms that are added to the loss, such as the distance from the weights of an earlier training."""
    described: Examples | None = None
    """The examples that describe labels, which are the last of `examples`; None if there are none."""
    deadline: float | None = None
    """Time of `learning.clock` at which the training must have ended; None sets no limit."""

    def without(self, pool: Examples, held: NDArray[np.int64]) -> Examples:
        """Return the examples of `pool` but those with the indices `held`, and the descriptions of labels, if there are any."""
        others = pool.subset(np.setdiff1d(np.arange(len(pool)), held))
        return others.joined(self.described) if self.described else others

    @property
    def rows(self) -> int:
        """The number of examples, without those that describe labels."""
        return len(self.examples) - len(self.described or ())
