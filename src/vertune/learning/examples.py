"""Encoded records with targets and costs, as the training loop reads them; independent of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.core.kinds import Encoder, Task, Tokens
from vertune.core.records import Feature, Record, Targets, View


@dataclass(slots=True)
class Examples:
    """Encoded records with their targets.

    A record is encoded into one or more features, the inputs of the encoder: for example one per window of a long text.
    """

    records: Sequence[Record]
    features: list[Feature]
    members: list[NDArray[np.int64]]
    """Indices of the features of each record."""
    targets: Targets
    costs: NDArray[np.int64]
    """Number of tokens of each feature."""
    weights: NDArray[np.float64]
    """Weight of each feature in the loss; the features of one record share the record's weight."""
    sampling: NDArray[np.float64] | None
    """Mean number of times that each record is drawn per epoch; None draws each once."""
    per_token: bool
    """Whether there is one target per token."""

    def __len__(self) -> int:
        return len(self.members)

    @property
    def row_costs(self) -> NDArray[np.int64]:
        """Number of tokens of each record."""
        return np.array([self.costs[members].sum() for members in self.members], dtype=np.int64)

    def rows_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of the features of these records."""
        return np.concatenate([self.members[row] for row in rows])

    def target(self, features: Sequence[int]) -> torch.Tensor:
        """Return the targets of these features as one tensor; targets per token are padded with -100 to the longest feature."""
        values = [self.targets.values[feature] for feature in features]
        if self.per_token:
            stacked = np.full((len(values), max(map(len, values))), -100, values[0].dtype)
            for row, value in enumerate(values):
                stacked[row, : len(value)] = value
            return torch.from_numpy(stacked)
        return torch.from_numpy(np.stack(values))


def encode(records: Sequence[Record], task: Task, encoder: Encoder, views: Sequence[View], tokens: Tokens | None = None) -> Examples:
    """Encode records and their targets once for the whole training; `tokens` is the result of `encoder.read`, if it is known already."""
    features = encoder.encode(records, views, tokens)
    members, siblings = by_record(features, len(records))
    targets = task.targets(records, features)
    weights = np.ones(len(features)) if targets.weights is None else targets.weights.astype(np.float64)
    if not task.whole_batch:
        weights = weights / siblings
    costs = np.array([feature.cost for feature in features], dtype=np.int64)
    per_token = task.states == "tokens" and all(
        value.shape == (feature.positions,) for value, feature in zip(targets.values, features, strict=True)
    )
    return Examples(records, features, members, targets, costs=costs, weights=weights, sampling=task.sampling(records), per_token=per_token)


def by_record(features: Sequence[Feature], records: int) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return the indices of the features of each record, and for each feature the number of features of its record."""
    owners = np.array([feature.record for feature in features], dtype=np.int64)
    counts = np.bincount(owners, minlength=records)
    return np.split(np.argsort(owners, kind="stable"), np.cumsum(counts)[:-1]), counts[owners]


def visits(examples: Examples, seed: tuple[int, ...]) -> NDArray[Any]:
    """Return the rows of one epoch: each once, or on average as often as `examples.sampling` says."""
    if examples.sampling is None:
        return np.arange(len(examples))
    random = np.random.default_rng(seed)
    whole = np.floor(examples.sampling).astype(np.int64)
    extra = random.random(len(whole)) < examples.sampling - whole
    return np.repeat(np.arange(len(whole)), whole + extra)
