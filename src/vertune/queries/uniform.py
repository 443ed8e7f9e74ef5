"""Chooses records at random, each with the same probability; the measure for all other queries."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Query
from vertune.core.query import Pool
from vertune.queries._picking import generator


class Uniform(Query):
    """Records drawn at random, whose labels estimate the accuracy on all."""

    needs_beliefs: ClassVar[bool] = False

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return random records; near-duplicates are not left out, because the choice would not be random without them."""
        rows = pool.open()
        return generator(pool).permutation(rows)[:number]

    def random_share(self) -> float:
        """Return 1: all of them are random."""
        return 1.0
