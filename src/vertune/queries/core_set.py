"""Chooses the records that are farthest from all with a label: k-center greedy (Sener and Savarese 2018)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Query
from vertune.core.query import Pool
from vertune.queries._picking import chunks, farthest_first, sample, take


class CoreSet(Query):
    """Records that are farthest from those with a label, and from each other."""

    needs_beliefs: ClassVar[bool] = False

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return the farthest records, one after the other."""
        rows = sample(pool.open(), pool, most=100_000)
        nearest = np.full(len(rows), -1.0, np.float32)
        known = pool.states[sample(pool.labelled.nonzero()[0], pool)]
        if len(known):
            for place, part in chunks(rows):
                nearest[place] = (pool.states[part] @ known.T).max(1)
        return take(rows[farthest_first(pool.states[rows], nearest, number)], pool, number)
