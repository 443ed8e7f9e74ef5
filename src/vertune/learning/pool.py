"""Records with the states that an unchanged encoder computes of them: a head is solved on those with labels, and judges the others.

Nothing is computed twice: states are computed once, so that a new head is solved and asked within seconds after each batch of labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder, Task
from vertune.core.query import TINY, Beliefs
from vertune.core.records import Answer, Feature, Places, Record
from vertune.decoders import windows
from vertune.learning.examples import by_record
from vertune.learning.probe import gathered, solve, solve_with
from vertune.nn.build import build
from vertune.nn.run import outputs

_CHUNK = 4096
"""Number of records whose states are computed between two reports of progress."""
_ROWS = 1 << 16
"""Number of states that are read at once."""


class _StoredFeatures(Sequence[Feature]):
    """Features that are made when they are read: a million of them would take half a gigabyte."""

    def __init__(self, numbers: NDArray[np.int64], parts: NDArray[np.int64], places: tuple[NDArray[Any], NDArray[Any]] | None) -> None:
        """`numbers` has the record, cost, truncated tokens and window of each feature; `places` are segments and offsets of all tokens."""
        self.numbers, self.parts, self.places = numbers, parts, places

    @property
    def owners(self) -> NDArray[np.int64]:
        """The index of the record of each feature."""
        owners: NDArray[np.int64] = self.numbers[:, 0]
        return owners

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        record, cost, truncated, window = self.numbers[index].tolist()
        place = None
        if self.places is not None:
            tokens = slice(self.parts[index], self.parts[index + 1])
            place = Places(*(array[tokens] for array in self.places))
        return Feature(record, "", cost, None, place, truncated=truncated, window=window)


class _Members(Sequence[NDArray[np.int64]]):
    """For each record, the indices of its features, which follow one another."""

    def __init__(self, owners: NDArray[np.int64]) -> None:
        count = int(owners[-1]) + 1 if len(owners) else 0
        self.ends = np.searchsorted(owners, np.arange(count + 1))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, row: Any) -> Any:
        return np.arange(self.ends[row], self.ends[row + 1])


Head = dict[str, NDArray[np.float32]]
"""The weights of a linear head by name, as `Task.apply` reads them."""


@dataclass(slots=True)
class StatePool:
    """Records with their states; labels are passed to the methods, because they come one after the other."""

    task: Task
    """The task, fitted: it knows the labels."""
    records: Sequence[Record]
    """Empty for a pool that was opened."""
    features: Sequence[Feature]
    states: NDArray[np.floating[Any]]
    """The states that enter the head, of all features (model inputs) one after the other, shape (states, width)."""
    parts: NDArray[np.int64]
    """Where the states of each feature begin, and where those of the last one end, shape (features + 1,)."""
    members: Sequence[NDArray[np.int64]]
    """The indices of the features of each record."""

    @classmethod
    def of(
        cls, task: Task, encoder: Encoder, records: Sequence[Record], columns: Sequence[str],
        progress: Callable[[int], None] = lambda done: None,
    ) -> StatePool:  # fmt: skip
        """Encode the records and compute their states; `progress` is called with the number of records that are done.

        Raises ConfigError for a task whose head is not one linear layer.
        """
        model = build(encoder, task).eval()
        if not task.linear_head or not isinstance(model.head, torch.nn.Linear):
            raise ConfigError(
                f"The head of the task '{task.name}' can't be solved on states, because it is not one linear layer with this encoder; "
                "expected a task such as classify, multilabel, tag, match or regress. Choose another task or pooling."
            )
        views, features, found = task.views(columns), [], []
        for start in range(0, len(records), _CHUNK):
            part = encoder.encode(records[start : start + _CHUNK], views)
            found += outputs(model, encoder, part, states=True)
            features += [replace(feature, record=feature.record + start) for feature in part]
            progress(min(start + _CHUNK, len(records)))
        rows = [array.reshape(-1, array.shape[-1]) for array in found]
        ends = np.cumsum([0, *map(len, rows)])
        members = by_record(features, len(records))[0]
        return cls(task, records, features, np.concatenate(rows), parts=ends, members=members)

    def save(self, folder: Path) -> None:
        """Write the states in half precision, and what `solve` and `beliefs` need of the features, to an empty folder."""
        features = self.features
        numbers = [[one.record, one.cost, one.truncated, one.window] for one in features]
        arrays: dict[str, NDArray[Any]] = {"parts": self.parts, "features": np.array(numbers, np.int64).reshape(-1, 4)}
        places = [one.places for one in features if one.places is not None]
        if self._per_token:
            arrays |= {"segments": np.concatenate([one.segments for one in places])}
            arrays |= {"offsets": np.concatenate([one.offsets for one in places])}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        states = np.lib.format.open_memmap(folder / "states.npy", "w+", np.float16, self.states.shape)
        for start in range(0, len(self.states), _ROWS):
            states[start : start + _ROWS] = self.states[start : start + _ROWS]
        states.flush()

    @classmethod
    def open(cls, task: Task, folder: Path) -> StatePool:
        """Open what `save` wrote; states are read from the file as they are needed."""
        states, parts, numbers = (np.load(folder / f"{name}.npy", "r", allow_pickle=False) for name in ("states", "parts", "features"))
        places: tuple[NDArray[Any], NDArray[Any]] | None = None
        if task.states == "tokens":
            segments, offsets = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("segments", "offsets"))
            places = segments, offsets
        features = _StoredFeatures(np.asarray(numbers), np.asarray(parts), places)
        return cls(task, [], features, states, np.asarray(parts), members=_Members(features.owners))

    def with_further(self, other: StatePool) -> StatePool:
        """Return a pool of these records and, after them, those of another pool with the same encoder; for `save` alone."""
        features = [*self.features, *(replace(feature, record=feature.record + len(self)) for feature in other.features)]
        states = np.concatenate([self.states, other.states.astype(self.states.dtype)])
        parts = np.concatenate([self.parts, self.parts[-1] + other.parts[1:]])
        return StatePool(self.task, [], features, states, parts, members=by_record(features, len(self) + len(other))[0])

    def __len__(self) -> int:
        return len(self.members)

    @property
    def _per_token(self) -> bool:
        """Whether the head reads one state per token."""
        return self.task.states == "tokens"

    @property
    def _owners(self) -> NDArray[np.int64]:
        """The index of the record of each state."""
        owners = self.features.owners if isinstance(self.features, _StoredFeatures) else windows.owners(self.features)
        return np.repeat(owners, np.diff(self.parts))

    def vectors(self) -> NDArray[np.float32]:
        """Return the mean state of each record, scaled to length 1, shape (records, width)."""
        owners = self._owners
        means = np.zeros((len(self), self.states.shape[1]), np.float32)
        single = len(owners) == len(self) and bool((np.diff(owners) == 1).all())
        for rows in self._pieces():
            if single:
                means[rows] = self.states[rows]
            else:
                np.add.at(means, owners[rows], self.states[rows].astype(np.float32))
        for start in range(0, len(means), _ROWS):
            part = means[start : start + _ROWS]
            part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), TINY)
        return means

    def _pieces(self) -> Iterator[slice]:
        """Yield the places of states, as many at a time as memory should hold in full precision."""
        return (slice(start, start + _ROWS) for start in range(0, len(self.states), _ROWS))

    def _logits(self, head: Head) -> NDArray[Any]:
        """Return the outputs of a head for all states."""
        return np.concatenate([self.task.apply(self.states[rows].astype(np.float32), head) for rows in self._pieces()])

    def solve(self, rows: NDArray[np.int64], labelled: Sequence[Record]) -> Head:
        """Solve the head on the records with the indices `rows`; `labelled` are the same records with their targets."""
        return self.solved(rows, labelled)[0]

    def solved(
        self, rows: NDArray[np.int64], labelled: Sequence[Record], inverse_regularisation: float | None = None
    ) -> tuple[Head, float]:  # fmt: skip
        """Do the same as `solve`, and also return the inverse regularisation; it is chosen if none is given, which takes longer."""
        chosen = [self.members[row] for row in rows]
        owners = np.repeat(np.arange(len(rows)), [len(one) for one in chosen])
        indices = np.concatenate(chosen)
        features = [replace(self.features[index], record=int(owner)) for index, owner in zip(indices, owners, strict=True)]
        targets = self.task.targets(labelled, features)
        weights = np.ones(len(features)) if targets.weights is None else targets.weights.astype(np.float64)
        weights = weights / np.bincount(owners)[owners]
        states = [self.states[self.parts[index] : self.parts[index + 1]].astype(np.float32) for index in indices]
        if not self._per_token:
            states = [state[0] for state in states]
        frozen = gathered(states, targets.values, weights, owners, self._per_token)
        if inverse_regularisation is None:
            found = solve(frozen, self.task, self.task.size, follows=False)
        else:
            found = solve_with(frozen, self.task, self.task.size, inverse_regularisation)
        return {"weight": found.weight.numpy(), "bias": found.bias.numpy()}, found.inverse_regularisation

    def answers(self, head: Head) -> list[Answer]:
        """Return the answers for all records."""
        logits = self._logits(head)
        outputs = [logits[start:end] for start, end in pairwise(self.parts)] if self._per_token else list(logits)
        return self.task.decode(self.records, self.features, outputs)

    def answers_of(self, head: Head, rows: NDArray[np.int64], records: Sequence[Record]) -> list[Answer]:
        """Return the answers for the records with the indices `rows`; `records` are the same records."""
        features, outputs = list[Feature](), list[NDArray[Any]]()
        for place, row in enumerate(rows.tolist()):
            for index in self.members[row]:
                states = self.states[self.parts[index] : self.parts[index + 1]].astype(np.float32)
                logits = self.task.apply(states, head)
                features.append(replace(self.features[index], record=place))
                outputs.append(logits if self._per_token else logits[0])
        return self.task.decode(records, features, outputs)

    def beliefs(self, head: Head) -> Beliefs:
        """Return what a head says of all records."""
        logits, count = self._logits(head), len(self)
        if self.task.activation == "sigmoid":
            yes = windows.merge(count, self.features, windows.sigmoid(logits))
            return Beliefs(*(value.astype(np.float32) for value in (yes, *_of_labels(yes))))
        if self.task.activation == "identity":  # a number: nothing says how sure the model is
            flat = np.zeros(count, np.float32)
            return Beliefs(np.ones((count, 1), np.float32), flat + 1, flat + 1, flat)
        shares = windows.softmax(logits)
        if not self._per_token:
            return Beliefs.of_classes(windows.merge(count, self.features, shares))
        of_tokens, owners = Beliefs.of_classes(shares), self._owners
        tokens = np.maximum(np.bincount(owners, minlength=count), 1)
        mean = np.zeros((count, shares.shape[1]))
        np.add.at(mean, owners, shares)
        least = np.ones(count)
        np.minimum.at(least, owners, of_tokens.margin)
        certain = np.exp(np.bincount(owners, np.log(np.maximum(of_tokens.confidence, TINY)), count) / tokens)
        spread = np.bincount(owners, of_tokens.entropy, count) / tokens
        return Beliefs(*(value.astype(np.float32) for value in (mean / tokens[:, None], certain, least, spread)))


def _of_labels(yes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return confidence, margin and entropy of probabilities of labels of which a record may have several, shape (rows, labels).

    The most doubtful label decides about the confidence and the margin; entropies add up.
    """
    sure = np.maximum(yes, 1 - yes)
    entropy = -(yes * np.log(np.maximum(yes, TINY)) + (1 - yes) * np.log(np.maximum(1 - yes, TINY))).sum(1)
    return sure.min(1), (2 * sure - 1).min(1), entropy
