"""Chooses records whose gradients on the head are large and different: BADGE (Ash et al. 2020)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Query
from vertune.core.query import Pool
from vertune.queries._picking import generator, sample, take


class Badge(Query):
    """Records whose labels would change the head most, and in different directions.

    The gradient on the head of the most likely answer is the product of the error in each label and of the record's state. Records are
    drawn one after the other, with a probability that grows with the squared distance of their gradient from those of all before them.
    """

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return the drawn records."""
        assert pool.beliefs is not None
        rows = sample(pool.open(), pool, most=100_000)
        errors = pool.beliefs.probabilities[rows].copy()
        errors[np.arange(len(rows)), errors.argmax(1)] -= 1
        states, random = pool.states[rows], generator(pool)
        squares = (errors**2).sum(1)  # the squared length of the gradient, because states have the length 1
        distance, chosen = squares.copy(), []
        for _ in range(min(2 * number, len(rows))):  # more than are wanted, because some may be near-duplicates
            total = float(distance.sum())
            row = int(random.choice(len(rows), p=distance / total)) if total > 0 else next(r for r in range(len(rows)) if r not in chosen)
            chosen.append(row)
            inner = (errors @ errors[row]) * (states @ states[row])
            distance = np.minimum(distance, np.maximum(squares + squares[row] - 2 * inner, 0))
            distance[chosen] = 0
        return take(rows[chosen], pool, number)
