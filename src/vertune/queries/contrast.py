"""Chooses records about which the model says something else than about their neighbours with a label: CAL (Margatina et al. 2021)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.kinds import Query
from vertune.core.query import Pool
from vertune.queries._picking import chunks, take

_TINY = 1e-7


class Contrast(Query):
    """Records that are near to some with a label, but get other probabilities than these."""

    neighbours: Annotated[int, Field(ge=1, description="Number of neighbours with a label.")] = 10

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return the records with the largest mean divergence (Kullback-Leibler) from their neighbours."""
        assert pool.beliefs is not None
        rows, known = pool.open(), pool.labelled.nonzero()[0]
        count = min(self.neighbours, len(known))
        if not count:
            return take(rows, pool, number)
        logs = np.log(np.maximum(pool.beliefs.probabilities, _TINY))
        certain = (pool.beliefs.probabilities[known] * logs[known]).sum(1)
        contrast = np.empty(len(rows), np.float32)
        for place, part in chunks(rows):
            near = np.argpartition(-(pool.states[part] @ pool.states[known].T), count - 1, axis=1)[:, :count]
            crossed = logs[part] @ pool.beliefs.probabilities[known].T
            contrast[place] = certain[near].mean(1) - np.take_along_axis(crossed, near, axis=1).mean(1)
        return take(rows[np.argsort(-contrast, kind="stable")], pool, number)
