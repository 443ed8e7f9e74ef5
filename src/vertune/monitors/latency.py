"""Sees that more requests are slow."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.monitors._shares import compare_shares, finite, quantiles


class Latency(Monitor):
    """The share of requests that take longer than 95 % of those of the reference, compared by Fisher's exact test.

    A share is compared, and no mean, because a few requests that hang would hide a rise of all others, or look like one.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"times"})
    title: ClassVar[str] = "share of slow requests"
    unit: ClassVar[Unit] = "share"
    quantile: float = Field(default=0.95, gt=0, lt=1, description="Share of the reference's requests that don't count as slow.")
    least: float = Field(default=0.1, ge=0, le=1, description="Rise of the share from which it counts as a change.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the share of slow requests."""
        before, now = finite(reference.seconds), finite(window.seconds)
        if not len(before) or not len(now):
            return Finding.silent(said("latency.unknown"), len(now))
        limit = float(np.quantile(before, self.quantile))
        what = said("latency.slow", limit=f"{limit:.3g}")
        return compare_shares(before > limit, now > limit, self.least, what, quantiles(before, now, digits=4))
