"""Sees from feedback that confidences no longer say how often answers are right."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.calibration import reliability
from vertune.metrics.distributions import two_sided
from vertune.metrics.drift import mean_difference
from vertune.metrics.normal import QUANTILE
from vertune.monitors._shares import per_cent, write_p


class Calibration(Monitor):
    """By how much the mean confidence exceeds the share of right answers, compared by Welch's test with the reference.

    Without feedback in the reference, it is compared with what the confidences themselves promise.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"answers"})
    of_window: ClassVar[frozenset[Need]] = frozenset({"feedback"})
    reaches_back: ClassVar[bool] = True
    title: ClassVar[str] = "confidence above accuracy"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.05, ge=0, le=1, description="Change of the difference from which it counts as a change.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the mean confidence less the share of right answers."""
        known = [np.isfinite(one.right) & np.isfinite(one.confidences) for one in (reference, window)]
        gaps = [one.confidences[rows] - one.right[rows] for one, rows in zip((reference, window), known, strict=True)]
        count = len(gaps[1])
        if count < 2:
            return Finding.silent(said("calibration.none"), count)
        sure, right = window.confidences[known[1]], window.right[known[1]]
        value, error = float(gaps[1].mean()), float(gaps[1].std(ddof=1)) / math.sqrt(count)
        if len(gaps[0]) >= 2:
            difference, _ = mean_difference(gaps[0], gaps[1])
            size, p = difference.size, difference.p
            compared = said("calibration.reference", gap=per_cent(float(gaps[0].mean())))
        else:
            spread = math.sqrt(float((sure * (1 - sure)).sum())) / count
            size, p = value, two_sided(value / spread) if spread > 0 else 1.0
            compared = said("calibration.unknown")
        found = reliability(sure, right)
        rows = [
            {"confidence": f"{part['low']:.1f} to {part['high']:.1f}", "right": per_cent(part["accuracy"]), "answers": part["count"]}
            for part in found["bins"]
        ]
        why = said("calibration", gap=per_cent(value), compared=compared, p=write_p(p), error=per_cent(found["ece"]))
        changed = p < SIGNIFICANT and abs(size) >= self.least
        return Finding(value, value - QUANTILE * error, value + QUANTILE * error, p, changed=changed, why=why, evidence=rows, n=count)
