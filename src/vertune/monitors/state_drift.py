"""Sees that the vectors which the model computes of texts have moved."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.metrics.drift import mean_discrepancy
from vertune.monitors._shares import examples, is_change, write_p

_LEAST = 20


class StateDrift(Monitor):
    """The maximum mean discrepancy of the vectors of both (MMD, Gretton et al. 2012), and the cosine of their means."""

    needs: ClassVar[frozenset[Need]] = frozenset({"records", "states"})
    title: ClassVar[str] = "distance of the vectors of texts (MMD)"
    unit: ClassVar[Unit] = "number"
    least: float = Field(default=0.001, ge=0, description="Squared discrepancy from which it counts as a change.")
    sample: int = Field(default=500, ge=50, description="Largest number of texts of the reference, and of the window, that are compared.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the squared discrepancy."""
        rows = [_sampled(one, self.sample) for one in (reference, window)]
        if min(map(len, rows)) < _LEAST:
            return Finding.silent("There are too few texts.", len(rows[1]))
        before, now = reference.states(rows[0].tolist()), window.states(rows[1].tolist())
        if before is None or now is None:
            return Finding.silent("No model is at hand that computes vectors.", len(rows[1]))
        found = mean_discrepancy(before, now)
        cosine = _cosine(before.mean(0), now.mean(0))
        why = f"The vectors of both differ by {found.size:.4f} (MMD², {write_p(found.p)}); the cosine of their means is {cosine:.3f}."
        far = rows[1][np.argsort((now @ before.T).max(1), kind="stable")]
        return Finding(
            found.size,
            None,
            None,
            found.p,
            changed=is_change(found, self.least),
            why=why,
            evidence=examples(window, far, "least like before"),
            n=len(now),
        )


def _sampled(window: Window, most: int) -> NDArray[np.int64]:
    """Return the positions of records, of more than `most` a random sample, the same in every call."""
    rows = np.array([row for row, record in enumerate(window.records) if record is not None], np.int64)
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(one @ other / max(1e-12, float(np.linalg.norm(one) * np.linalg.norm(other))))
