"""Sees that the model is surer or less sure of its answers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.metrics.drift import kolmogorov_smirnov
from vertune.monitors._shares import finite, is_change, per_cent, quantiles, write_p


class Confidence(Monitor):
    """The distribution of confidences, compared by the test of Kolmogorov and Smirnov."""

    needs: ClassVar[frozenset[Need]] = frozenset({"answers"})
    title: ClassVar[str] = "mean confidence"
    unit: ClassVar[Unit] = "share"
    least: float = Field(
        default=0.08,
        ge=0,
        le=1,
        description="Share of answers that must be surer, or less sure, than in the reference to count as a change.",
    )

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the mean confidence."""
        before, now = finite(reference.confidences), finite(window.confidences)
        if len(before) < 2 or len(now) < 2:
            return Finding.silent("The answers have no confidence.", len(now))
        found, mean = kolmogorov_smirnov(before, now), float(now.mean())
        reach = 1.96 * float(now.std()) / np.sqrt(len(now))
        why = (
            f"The mean confidence is {per_cent(mean)}, {per_cent(float(before.mean()))} in the reference; the distributions differ by "
            f"{found.size:.2f} ({write_p(found.p)})."
        )
        return Finding(
            mean,
            mean - reach,
            mean + reach,
            found.p,
            changed=is_change(found, self.least),
            why=why,
            evidence=quantiles(before, now),
            n=len(now),
        )
