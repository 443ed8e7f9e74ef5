"""Training examples: records encoded as model inputs, with targets and numbers of tokens; independent of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.core.kinds import Encoder, Task, Tokens
from vertune.core.records import Feature, Record, Targets, View


@dataclass(slots=True)
class Examples:
    """Records that are encoded for training, with their targets.

    A record is encoded as one or more features (model inputs), for example one for each overlapping piece of a long
    text.
    """

    records: Sequence[Record]
    features: list[Feature]
    members: list[NDArray[np.int64]]
    """Indices of the features (model inputs) of each record."""
    targets: Targets
    costs: NDArray[np.int64]
    """Number of tokens of each feature (model input)."""
    weights: NDArray[np.float64]
    """Weight of each feature (model input) in the loss; if a record has several, their weights add up to the weight of the record."""
    sampling: NDArray[np.float64] | None
    """For each record, how many times it is used per epoch on average; if it is None, each record is used once."""
    per_token: bool
    """Whether there is one target per token."""

    def __len__(self) -> int:
        return len(self.members)

    @property
    def row_costs(self) -> NDArray[np.int64]:
        """Number of tokens of each record, summed over its model inputs; shape (records,)."""
        return np.array([self.costs[members].sum() for members in self.members], dtype=np.int64)

    def rows_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of all features (model inputs) that belong to the records with the indices `rows`."""
        return np.concatenate([self.members[row] for row in rows])

    def target(self, features: Sequence[int]) -> torch.Tensor:
        """Return the targets of the model inputs with the indices `features`, as one tensor.

        If there is one target per token, shorter inputs are padded with -100 to the length of the longest one.
        """
        values = [self.targets.values[feature] for feature in features]
        if self.per_token:
            stacked = np.full((len(values), max(map(len, values))), -100, values[0].dtype)
            for row, value in enumerate(values):
                stacked[row, : len(value)] = value
            return torch.from_numpy(stacked)
        return torch.from_numpy(np.stack(values))

    def subset(self, rows: NDArray[np.int64]) -> Examples:
        """Return the examples of the records with the indices `rows`, in this order."""
        chosen = self.rows_of(rows)
        owners = np.repeat(np.arange(len(rows)), [len(self.members[row]) for row in rows])
        features = [replace(self.features[index], record=int(owner)) for index, owner in zip(chosen, owners, strict=True)]
        weights = None if self.targets.weights is None else self.targets.weights[chosen]
        return Examples(
            [self.records[row] for row in rows], features, by_record(features, len(rows))[0],
            Targets([self.targets.values[index] for index in chosen], weights), costs=self.costs[chosen], weights=self.weights[chosen],
            sampling=None if self.sampling is None else self.sampling[rows], per_token=self.per_token,
        )  # fmt: skip

    def weighted(self, trust: NDArray[np.float64] | None) -> Examples:
        """Return these examples whose weights in the loss are multiplied by the trust in each record, shape (records,); None keeps them."""
        if trust is None:
            return self
        owners = np.array([feature.record for feature in self.features], np.int64)
        return replace(self, weights=self.weights * trust[owners])

    def joined(self, other: Examples) -> Examples:
        """Return these examples followed by those of `other`, which the same task and encoder made."""
        first, features = len(self.records), len(self.features)
        moved = [replace(feature, record=feature.record + first) for feature in other.features]
        pairs = (self.targets.weights, other.targets.weights), (self.sampling, other.sampling)
        weights, sampling = (None if one is None or two is None else np.concatenate([one, two]) for one, two in pairs)
        return Examples(
            [*self.records, *other.records], [*self.features, *moved], [*self.members, *(rows + features for rows in other.members)],
            Targets([*self.targets.values, *other.targets.values], weights), costs=np.concatenate([self.costs, other.costs]),
            weights=np.concatenate([self.weights, other.weights]), sampling=sampling, per_token=self.per_token,
        )  # fmt: skip


def encode(records: Sequence[Record], task: Task, encoder: Encoder, views: Sequence[View], tokens: Tokens | None = None) -> Examples:
    """Encode records and their targets, once for the whole training.

    `views` define which fields of a record form an input of the model. `tokens` is the result of `encoder.read` for
    these records; if it is None, they are tokenised here.
    """
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
    """Match records with their features (model inputs), of which each record may have several.

    Return two results: a list with the indices of the features of each record, and an array with, for each feature, the
    number of features that its record has. `records` is the number of records.
    """
    owners = np.array([feature.record for feature in features], dtype=np.int64)
    counts = np.bincount(owners, minlength=records)
    return np.split(np.argsort(owners, kind="stable"), np.cumsum(counts)[:-1]), counts[owners]


def visits(examples: Examples, seed: tuple[int, ...]) -> NDArray[Any]:
    """Return the indices of the records to train on in one epoch.

    Each record occurs once, unless `examples.sampling` contains how many times it occurs on average: for example, 1.3
    means once or, with a probability of 0.3, twice. The random choice depends only on `seed`.
    """
    if examples.sampling is None:
        return np.arange(len(examples))
    random = np.random.default_rng(seed)
    whole = np.floor(examples.sampling).astype(np.int64)
    extra = random.random(len(whole)) < examples.sampling - whole
    return np.repeat(np.arange(len(whole)), whole + extra)
