"""Sees that the vectors which the model computes of texts have moved."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.drift import linear_separation, mean_discrepancy
from vertune.monitors._shares import examples, kept_rows, per_cent, write_p

_LEAST = 20
_PENALTY = 10.0
"""The penalty of the ridge regression on vectors of length 1."""


class StateDrift(Monitor):
    """The maximum mean discrepancy of the vectors of both (MMD, Gretton et al. 2012), and what a ridge regression on them explains.

    The regression sees a new topic sooner, and the discrepancy also sees what is no shift of a mean, so the smaller p of both counts,
    doubled (Bonferroni).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"records", "states"})
    title: ClassVar[str] = "distance of the vectors of texts (MMD)"
    unit: ClassVar[Unit] = "number"
    least: float = Field(
        default=0.01, ge=0, le=1, description="Share of the difference of both that vectors explain, beyond chance, to count as a change."
    )
    sample: int = Field(default=500, ge=50, description="Largest number of texts of the window that are compared.")
    of_reference: int = Field(default=1500, ge=50, description="Largest number of texts of the reference that are compared.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the squared discrepancy."""
        rows = [kept_rows(reference, self.of_reference), kept_rows(window, self.sample)]
        if min(map(len, rows)) < _LEAST:
            return Finding.silent(said("texts.few"), len(rows[1]))
        before, now = reference.states(rows[0].tolist()), window.states(rows[1].tolist())
        if before is None or now is None:
            return Finding.silent(said("state_drift.unknown"), len(rows[1]))
        some = np.random.default_rng(0).permutation(len(before))[: self.sample]  # the first rows may be of one label or of one day
        distance = mean_discrepancy(before[some], now)
        is_window = np.arange(len(before) + len(now)) >= len(before)
        explained = linear_separation(np.concatenate([before, now]), is_window, _PENALTY)
        p, cosine = min(1.0, 2 * min(distance.p, explained.p)), _cosine(before.mean(0), now.mean(0))
        why = said(
            "state_drift", distance=f"{distance.size:.4f}", explained=per_cent(max(0.0, explained.size)), p=write_p(p),
            cosine=f"{cosine:.3f}",
        )  # fmt: skip
        far = rows[1][np.argsort((now @ before.T).max(1), kind="stable")]
        evidence = examples(window, far, "least like before")
        changed = p < SIGNIFICANT and explained.size >= self.least
        return Finding(distance.size, None, None, p, changed=changed, why=why, evidence=evidence, n=len(now))


def _cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(one @ other / max(1e-12, float(np.linalg.norm(one) * np.linalg.norm(other))))
