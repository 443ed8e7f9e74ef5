"""What a training reads and returns: the records of a dataset, the folders that it uses, and the trained model with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vertune.core.config import Config
from vertune.core.kinds import Tokens
from vertune.core.records import Record
from vertune.learning import clock
from vertune.lexical.companion import Companion
from vertune.nn.vertical import VerticalModel


@dataclass(slots=True)
class TrainingData:
    """The records of a dataset that one training run uses, and the columns that they have."""

    train: Sequence[Record]
    validation: Sequence[Record]
    columns: Sequence[str]
    """The columns of the task that have values in the training rows."""
    cut: bool = False
    """Whether the validation records were split off the training rows; if so, the model may be retrained on all of them (refit)."""
    train_tokens: Tokens | None = None
    """Tokens of the training records, if they are known already; None tokenises the records."""
    validation_tokens: Tokens | None = None
    """Tokens of the validation records, if they are known already; None tokenises the records."""
    trust: NDArray[np.float64] | None = None
    """The weight of each training record in the loss; None gives all the same."""
    fresh: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None
    """Which training and which validation records are new since the model that training starts from; None if it starts from no model."""

    @property
    def together(self) -> Self:
        """The same data with the validation records as further training records."""
        known = self.train_tokens, self.validation_tokens
        tokens = None if known[0] is None or known[1] is None else known[0].joined(known[1])
        trust = None if self.trust is None else np.concatenate([self.trust, np.ones(len(self.validation))])
        return replace(self, train=[*self.train, *self.validation], train_tokens=tokens, trust=trust)


WAY_FOLDERS = "ways"
"""The folder of a run with a folder for the checkpoint of each way to train on from an earlier model."""


@dataclass(slots=True)
class TrainingFolders:
    """The folders that a training run uses, and the time of its start."""

    folder: Path
    """The folder of the run, for checkpoints and for the method that `auto` chose."""
    cache: Path | None = None
    """The folder for cached outputs of frozen layers (the trunk cache); if it is None, nothing is cached."""
    started: float = field(default_factory=clock.now)
    """Time of `learning.clock` from which a time limit is counted."""


@dataclass(slots=True)
class TrainingOutcome:
    """A trained model, with its validation metrics and the decisions that were made during training."""

    model: VerticalModel
    config: Config
    """The config, with the method that was actually used and with the task after its thresholds were calibrated."""
    metrics: dict[str, float]
    """Metrics on the validation records, before any retraining on all rows; empty without validation records."""
    intervals: dict[str, list[float]]
    """Low and high end of the bootstrap 95 % interval of each metric; metrics without an interval are omitted."""
    chosen: dict[str, Any]
    """The decisions and their reasons, for the report."""
    trained: int
    """Number of trained weights."""
    threads: int
    solved: bool
    """Whether only a linear head was fitted (a linear probe), which takes little time to repeat on more rows."""
    companion: Companion | None = None
    """What is mixed with the model's outputs before they are decoded; None if nothing is."""
