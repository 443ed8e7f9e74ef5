"""Sees that answers contain other labels more often or less often."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.drift import chi_square, expected_index, index_interval, stability_index
from vertune.monitors._shares import per_cent, write_p

_SHOWN = 10


class LabelShares(Monitor):
    """The population stability index of the labels in answers, less what chance makes of it, with the chi-square test."""

    needs: ClassVar[frozenset[Need]] = frozenset({"answers"})
    title: ClassVar[str] = "shift of the shares of labels (PSI)"
    unit: ClassVar[Unit] = "number"
    least: float = Field(default=0.1, ge=0, description="Index from which it counts as a change; 0.1 is usually called moderate.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the index."""
        before, now = Counter(reference.labels()), Counter(window.labels())
        names = sorted({*before, *now})
        if len(names) < 2 or not before or not now:
            return Finding.silent(said("label_shares.few"), sum(now.values()))
        one, other = (np.array([counts[name] for name in names], np.float64) for counts in (before, now))
        size, p = max(0.0, stability_index(one, other) - expected_index(one, other)), chi_square(one, other).p
        low, high = index_interval(one, other)
        shares = [one / one.sum(), other / other.sum()]
        order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:_SHOWN]
        rows = [
            {"label": names[row], "share in the window": round(shares[1][row], 4), "share in the reference": round(shares[0][row], 4)}
            for row in order.tolist()
        ]
        moved = 0.5 * float(np.abs(shares[1] - shares[0]).sum())
        why = said("label_shares", size=f"{size:.3f}", p=write_p(p), label=names[order[0]], moved=per_cent(moved))
        answered = sum(answer is not None for answer in window.answers)
        return Finding(size, low, high, p, changed=p < SIGNIFICANT and size >= self.least, why=why, evidence=rows, n=answered)
