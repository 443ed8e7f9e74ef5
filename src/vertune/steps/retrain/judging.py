"""Reads labels that came after a candidate was trained, by which the gate may judge it once more; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from vertune.core.artifact import Artifact
from vertune.core.config import Config
from vertune.core.errors import DataError, NoRows
from vertune.core.kinds import Source, Task
from vertune.data import dataset as stored
from vertune.data.chain import ChainLog
from vertune.data.dataset import GOLD, SPLITS
from vertune.steps.retrain import reading, targets
from vertune.steps.retrain.dataset import asked_config
from vertune.steps.retrain.reading import REVIEWED


def labelled_since(model: Artifact, dataset: Artifact, on: Sequence[Source]) -> pl.DataFrame:
    """Return the reviewed rows of the sources whose inputs are not in the dataset of the model, one for each input.

    Raises DataError if there is none.
    """
    config = asked_config(model)
    frames = [frame for frame in (_read(source, config) for source in on) if frame is not None and frame.height]
    if frames:
        found = pl.concat(frames, how="diagonal_relaxed")
        found = _without(config.task, found.filter(pl.col(REVIEWED)), dataset)
        if found.height:
            return found
    raise DataError(
        f"There is no label that came after {model.id} was trained, but at least one is needed to judge it again. Label records, and let "
        "reviewers decide where annotators disagree."
    )


def _read(source: Source, config: Config) -> pl.DataFrame | None:
    """Return the rows of a source; None if it has none yet."""
    try:
        return reading.read([source], config, (), ChainLog(lambda kind, **fields: None))
    except NoRows:
        return None


def _without(task: Task, frame: pl.DataFrame, dataset: Artifact) -> pl.DataFrame:
    """Return the rows whose inputs are not in a dataset, the first one of those with equal inputs."""
    frames = [stored.find(dataset, name) for name in (*SPLITS, GOLD)]
    known = np.concatenate([targets.input_keys(task, one) for one in frames if one is not None and one.height])
    keys = targets.input_keys(task, frame)
    _, first = np.unique(keys, return_index=True)
    is_first = np.isin(np.arange(len(keys)), first)
    return frame.filter(pl.Series(is_first & ~np.isin(keys, known)))
