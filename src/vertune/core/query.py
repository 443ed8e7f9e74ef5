"""The base class of queries, which choose the records that people label next, and the pool of records that they choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from vertune.core.part import Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


TINY = 1e-12
"""Smallest probability whose logarithm is taken."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What a model that was trained on the labels so far says of all records of a pool."""

    probabilities: NDArray[np.float32]
    """Of each label, shape (records, labels); if a record has several decisions, such as one for each word, their mean."""
    confidence: NDArray[np.float32]
    """The probability of the most likely answer, shape (records,)."""
    margin: NDArray[np.float32]
    """By how much the probability of the most likely answer is above that of the next one, shape (records,)."""
    entropy: NDArray[np.float32]
    """The entropy of the answer in nats, shape (records,)."""

    @classmethod
    def of_classes(cls, probabilities: NDArray[Any]) -> Self:
        """Return the beliefs of a model that gives each record one of several classes, with these probabilities, (records, classes)."""
        import numpy as np

        best = np.partition(probabilities, -2, axis=1)[:, -2:] if probabilities.shape[1] > 1 else np.pad(probabilities, ((0, 0), (1, 0)))
        entropy = -(probabilities * np.log(np.maximum(probabilities, TINY))).sum(1)
        return cls(*(value.astype(np.float32) for value in (probabilities, best[:, 1], best[:, 1] - best[:, 0], entropy)))


@dataclass(frozen=True, slots=True)
class Pool:
    """Records, some of which have labels, with the states (vectors) that a model computes of them."""

    states: NDArray[np.float32]
    """One vector of length 1 for each record, shape (records, width)."""
    labelled: NDArray[np.bool_]
    """Which records have a label, shape (records,)."""
    closed: NDArray[np.bool_]
    """Which records must not be chosen: those with a label, and those that were skipped or are held out, shape (records,)."""
    beliefs: Beliefs | None = None
    """None as long as there is no model that was trained on the labels."""
    seed: int = 0

    def open(self) -> NDArray[np.int64]:
        """Return the indices of the records that may be chosen, in order."""
        found: NDArray[Any] = (~self.closed).nonzero()[0]
        return found


class Query(Part):
    """A component that chooses which records people label next (active learning)."""

    folder: ClassVar[str] = "queries"
    needs_beliefs: ClassVar[bool] = True
    """Whether it can choose only after a model was trained on some labels."""
    default: ClassVar[bool] = False
    """Whether `auto` means this query."""
    first: ClassVar[bool] = False
    """Whether it chooses the first records for queries that need beliefs."""

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return the indices of `number` open records of the pool, or of all if there are fewer, in the order in which to label them.

        The result depends on the content of the pool and its seed only. No two of the records are nearly equal, and each label that the
        model gives to open records occurs among them, as far as there are enough records.
        """
        raise NotImplementedError

    def random_share(self) -> float:
        """Return the share of the records, the first ones of `pick`, that are drawn at random, so that their labels estimate accuracy."""
        return 0.0
