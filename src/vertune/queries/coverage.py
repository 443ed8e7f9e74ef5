"""Chooses records in whose neighbourhood most others are that no label covers yet: ProbCover (Yehuda et al. 2022)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.kinds import Query
from vertune.core.query import Pool
from vertune.queries._picking import chunks, clusters, filled, sample, take

_TRIED = np.arange(0.95, 0.25, -0.05)
"""Similarities that are tried as the radius of a neighbourhood, from narrow to wide."""
_CLUSTERS = 50
"""Number of clusters by which the radius is chosen."""


class Coverage(Query):
    """Records that stand for the most others."""

    needs_beliefs: ClassVar[bool] = False
    purity: Annotated[float, Field(gt=0, lt=1, description="Share of neighbourhoods that must lie within one cluster.")] = 0.95

    def pick(self, pool: Pool, number: int) -> NDArray[np.int64]:
        """Return the record that covers the most others, then the one that covers the most of the rest, and so on."""
        rows = sample((pool.labelled | ~pool.closed).nonzero()[0], pool, most=10_000)
        states = pool.states[rows]
        near = _neighbourhoods(states, self.purity, pool.seed)
        free, covered = ~pool.closed[rows], np.zeros(len(rows), bool)
        for known in (~free & pool.labelled[rows]).nonzero()[0]:
            covered[near[known]] = True
        gains = np.array([int((~covered[one]).sum()) for one in near])
        chosen: list[int] = []
        for _ in range(min(2 * number, int(free.sum()))):
            row = int(np.where(free, gains, -1).argmax())
            chosen.append(row)
            free[row] = False
            for new in near[row][~covered[near[row]]].tolist():
                covered[new] = True
                gains[near[new]] -= 1  # neighbourhoods are symmetric
        return filled(take(rows[np.array(chosen, np.int64)], pool, number), pool, number)


def _neighbourhoods(states: NDArray[np.float32], purity: float, seed: int) -> list[NDArray[np.int64]]:
    """Return, for each record, the records in its neighbourhood, whose radius is the widest for which neighbourhoods are pure enough."""
    everything = np.arange(len(states))
    if not len(states):
        return []
    found = clusters(states, min(_CLUSTERS, max(2, len(states) // 20)), seed)
    some = np.random.default_rng(seed).permutation(everything)[:1000]
    similar = states[some] @ states.T
    other = found[some][:, None] != found[None, :]
    nearest_other = np.where(other, similar, -1).max(1)  # the neighbourhood is pure if its radius is narrower
    radius = next((limit for limit in _TRIED[::-1] if (nearest_other < limit).mean() >= purity), _TRIED[0])
    return [line.nonzero()[0] for _, part in chunks(everything) for line in states[part] @ states.T >= radius]
