"""Sees that more texts are longer than the model reads."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.monitors._shares import compare_shares


class Truncation(Monitor):
    """The share of texts of which tokens are cut off, compared by Fisher's exact test."""

    needs: ClassVar[frozenset[Need]] = frozenset({"records"})
    title: ClassVar[str] = "share of truncated texts"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.02, ge=0, le=1, description="Rise of the share from which it counts as a change.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the share of truncated texts."""
        before, now = reference.cut[reference.cut >= 0], window.cut[window.cut >= 0]
        if not len(before) or not len(now):
            return Finding.silent(said("tokens.uncounted"), len(now))
        return compare_shares(before > 0, now > 0, self.least, said("truncation.cut"))
