"""Chooses typical records first, and then uncertain ones of different kinds; some are random, to measure the accuracy honestly."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.kinds import Query
from vertune.core.query import Pool
from vertune.queries._picking import clusters, generator, take
from vertune.queries.typical import Typical

_CANDIDATES = 10
"""How many uncertain records are considered for each that is chosen."""


class Staged(Query):
    """Typical records as long as there is no model; then uncertain ones from different clusters, and some random ones.

    Of the most uncertain records, each weighted by its uncertainty, clusters are formed, and of each the record nearest to its centre is
    chosen (Zhdanov 2019).
    """

    needs_beliefs: ClassVar[bool] = False
    default: ClassVar[bool] = True
    random: Annotated[float, Field(ge=0, lt=1, description="Share of random records, whose labels estimate the accuracy.")] = 0.1

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return random records, and then the others."""
        random, number = generator(pool), min(number, len(pool.open()))
        drawn = random.permutation(pool.open())[: int(number * self.random + random.random())]  # the share holds for single records, too
        left = Pool(pool.states, pool.labelled, pool.closed | np.isin(np.arange(len(pool.closed)), drawn), pool.beliefs, pool.seed)
        if len(drawn) == number:
            return drawn
        others = Typical().pick(left, number - len(drawn)) if pool.beliefs is None else _uncertain(left, number - len(drawn))
        return np.concatenate([drawn, others])

    def random_share(self) -> float:
        """Return the option `random`."""
        return self.random


def _uncertain(pool: Pool, number: int) -> NDArray[np.int64]:
    """Return uncertain records from different clusters, the most uncertain ones first."""
    assert pool.beliefs is not None
    rows, margin = pool.open(), pool.beliefs.margin
    candidates = rows[np.argsort(margin[rows], kind="stable")][: _CANDIDATES * number]
    if len(candidates) <= number:
        return candidates
    weights = 1.0 - margin[candidates] + 1e-3
    states = pool.states[candidates]
    found = clusters(states, number, pool.seed, weights)
    best = []
    for cluster in range(int(found.max()) + 1):
        members = (found == cluster).nonzero()[0]
        centre = np.average(states[members], axis=0, weights=weights[members])
        best.append(int(members[(states[members] @ centre).argmax()]))
    first = np.sort(np.array(best, np.int64))  # candidates are sorted by their margin
    rest = np.setdiff1d(np.arange(len(candidates)), first)
    return take(candidates[np.concatenate([first, rest])], pool, number)
