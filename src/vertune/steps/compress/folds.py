"""Trains a model anew without each part of its rows in turn, so that a compression can be compared on rows that were not trained on.

This is the training of a k-fold cross-validation (Stone 1974); the comparison is not made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core import content
from vertune.core.artifact import Progress
from vertune.core.config import Config
from vertune.core.kinds import Method, StandaloneModel
from vertune.core.records import Record
from vertune.steps.compress.compression import Fold, assembled

_FOLDS = 5
"""Number of parts with `compress.folds: auto`."""
_FEWEST = 2
"""Minimum number of different rows for each part."""
ROUNDS = 3
"""Number of cross-validations, each with other parts, after which it remains undecided whether a result is accurate enough."""
_FORWARDED = frozenset({"step", "remembered", "warning"})
"""Events of a training that are reported; the others say five times what is known from the first training."""


@dataclass(frozen=True, slots=True)
class Training:
    """How the model was trained whose training is repeated on each part."""

    config: Config
    """The config of the trained model, with the method that was used and the fitted task."""
    chosen: Mapping[str, Any]
    """The decisions of its training; their entry `epochs` is 0 if only the head was fitted."""
    columns: Sequence[str]
    """Names of the columns of the task that the records have."""
    home: Path
    """The home folder, which has the cache of the outputs of frozen layers."""


def number_of(config: Config, rows: int) -> int:
    """Return the number of parts into which so many different labelled rows are divided; less than 2 for no cross-validation."""
    from vertune.learning.session import FEW_ROWS

    folds = config.compress.folds
    wanted = (_FOLDS if rows <= FEW_ROWS else 0) if folds == "auto" else folds
    return wanted if rows >= _FEWEST * wanted else 0


def parts(records: Sequence[Record], fields: Sequence[str], number: int, seed: int) -> list[NDArray[np.int64]]:
    """Divide records at random into parts of about equal size; return the indices of the records of each part.

    Records with equal inputs (`fields`) are in one part, so no part contains a text that another part trains on. There are
    fewer parts than `number` if there are fewer distinct inputs.
    """
    group = content.groups(records, fields)
    order = np.random.default_rng(seed).permutation(int(group.max(initial=-1)) + 1)
    part = order % number
    found = [np.flatnonzero(part[group] == index) for index in range(number)]
    return [rows for rows in found if len(rows)]


def trained(
    training: Training, records: Sequence[Record], divided: Sequence[NDArray[np.int64]], folder: Path, progress: Progress
) -> Iterator[Fold]:
    """Train the model anew without each part of the records in turn, and yield it with the records that it did not see.

    The weights of a part whose training ended are kept below `folder`, so that it is not trained again after a kill.
    """
    for number, rows in enumerate(divided, 1):
        progress("cross-validating", number=number, of=len(divided), rows=len(rows))
        outside = set(rows.tolist())
        train = [record for index, record in enumerate(records) if index not in outside]
        yield Fold(_train(training, train, folder / str(number), progress), train, [records[index] for index in rows])


def _train(training: Training, records: list[Record], folder: Path, progress: Progress) -> StandaloneModel:
    """Train on these records as the model was trained; load the weights if this training had ended already."""
    from vertune.learning import session
    from vertune.nn import delta

    def forward(kind: str, **fields: Any) -> None:
        if kind in _FORWARDED:
            progress(kind, **fields)

    config = training.config
    if not (folder / delta.EDITS).exists():  # it is written last
        folder.mkdir(parents=True, exist_ok=True)
        changes: dict[str, Any] = {"time_limit": None, "refit": "never"}
        if training.chosen.get("epochs"):
            changes["epochs"] = training.chosen["epochs"]
        repeated = config.model_copy(update={"training": config.training.model_copy(update=changes)})
        data = session.TrainingData(records, [], training.columns)
        result = session.train(repeated, data, session.TrainingFolders(folder, training.home / "cache" / "trunk"), forward)
        assert isinstance(config.method, Method)
        delta.save(folder, config.method.edits(result.model))
        session.remove_checkpoints(folder)
    return assembled(config.encoder, config.task, delta.load(folder))
