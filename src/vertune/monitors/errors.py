"""Sees that more requests fail."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.monitors._shares import compare_shares


class Errors(Monitor):
    """The share of requests without an answer, compared by Fisher's exact test."""

    needs: ClassVar[frozenset[Need]] = frozenset({"times", "answers"})
    title: ClassVar[str] = "share of failed requests"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.02, ge=0, le=1, description="Rise of the share from which it counts as a change.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the share of failed requests."""
        before, now = (np.array([answer is None for answer in one.answers], bool) for one in (reference, window))
        return compare_shares(before, now, self.least, said("errors.failed"))
