"""Sees that the model is surer or less sure of its answers."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.monitors._shares import compare_means, finite, per_cent


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
            return Finding.silent(said("answers.unsure"), len(now))
        what = said("confidence.means", now=per_cent(float(now.mean())), before=per_cent(float(before.mean())))
        return compare_means(before, now, self.least, what)
