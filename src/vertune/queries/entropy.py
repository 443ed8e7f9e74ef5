"""Chooses the records for which the probabilities are spread over many answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Query
from vertune.core.query import Pool
from vertune.queries._picking import take


class Entropy(Query):
    """Records for which the probabilities are spread over many answers."""

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return the records of which the model is least sure."""
        assert pool.beliefs is not None
        rows = pool.open()
        return take(rows[np.argsort(-pool.beliefs.entropy[rows], kind="stable")], pool, number)
