"""Chooses a typical record of each cluster that has no label yet: TypiClust (Hacohen, Dekel and Weinshall 2022)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.kinds import Query
from vertune.core.query import Pool
from vertune.queries._picking import clusters, filled, sample, take


class Typical(Query):
    """Typical records of the largest clusters without a label, for the first labels of all."""

    needs_beliefs: ClassVar[bool] = False
    first: ClassVar[bool] = True
    neighbours: Annotated[int, Field(ge=1, description="Number of neighbours to which a typical record is near.")] = 20
    clusters: Annotated[int, Field(ge=2, description="Maximum number of clusters.")] = 500

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return one record for each of the largest clusters without a label, then the next ones of each cluster."""
        rows = sample((pool.labelled | ~pool.closed).nonzero()[0], pool)
        wanted = min(number + int(pool.labelled[rows].sum()), self.clusters, len(rows))
        found = clusters(pool.states[rows], wanted, pool.seed)
        order: list[tuple[int, int, int, int]] = []
        for cluster in range(int(found.max()) + 1 if len(found) else 0):
            members = rows[found == cluster]
            free = members[~pool.closed[members]]
            known = int(pool.labelled[members].sum())
            typical = free[np.argsort(-self._typicality(pool.states[free], pool.states[members]), kind="stable")]
            # the clusters with the fewest labels come first, of these the largest, and of each of them one record after the other
            order += [(known + turn, -len(members), cluster, int(row)) for turn, row in enumerate(typical.tolist())]
        return filled(take(np.array([row for *_, row in sorted(order)], np.int64), pool, number), pool, number)

    def _typicality(self, states: NDArray[np.float32], members: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how near the nearest members of the cluster are on average, by their cosine."""
        count = min(self.neighbours, len(members))
        if not count or not len(states):
            return np.zeros(len(states), np.float32)
        similar = states @ members.T
        nearest: NDArray[np.float32] = np.partition(similar, -count, axis=1)[:, -count:].mean(1)
        return nearest
