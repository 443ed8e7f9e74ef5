"""Sees that the model is unsure of more answers, as it is of requests that it was not made for."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.monitors._shares import compare_shares, examples, finite


class OutOfScope(Monitor):
    """The share of answers with a low confidence, compared by Fisher's exact test."""

    needs: ClassVar[frozenset[Need]] = frozenset({"answers"})
    title: ClassVar[str] = "share of unsure answers"
    unit: ClassVar[Unit] = "share"
    below: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Confidence below which an answer is unsure; none takes that of the lowest 5 % of the reference.",
    )
    least: float = Field(default=0.03, ge=0, le=1, description="Rise of the share from which it counts as a change.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the share of unsure answers."""
        before, now = finite(reference.confidences), finite(window.confidences)
        if not len(before) or not len(now):
            return Finding.silent(said("answers.unsure"), len(now))
        limit = float(np.quantile(before, 0.05)) if self.below is None else self.below
        unsure = (window.confidences < limit).nonzero()[0]
        least_sure = unsure[np.argsort(window.confidences[unsure], kind="stable")]
        what = said("out_of_scope.unsure", limit=f"{limit:.2f}")
        return compare_shares(before < limit, now < limit, self.least, what, examples(window, least_sure, "least sure of"))
