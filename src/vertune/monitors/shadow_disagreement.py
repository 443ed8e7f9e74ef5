"""Sees that a candidate in shadow gives other answers than the live model."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.drift import binomial_tail, share_interval
from vertune.monitors._shares import per_cent, write_p

_SHOWN = 10


class ShadowDisagreement(Monitor):
    """The share of requests for which the candidate's answer differs, tested against the share that is allowed."""

    of_window: ClassVar[frozenset[Need]] = frozenset({"answers", "shadow"})
    title: ClassVar[str] = "share of other answers in shadow"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.1, ge=0, lt=1, description="Share of other answers from which it counts as a change.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the share of other answers."""
        pairs = [(mine, other) for mine, other in zip(window.answers, window.shadow, strict=True) if mine is not None and other is not None]
        if not pairs:
            return Finding.silent(said("lacks.window", what=said("need.shadow")))
        others = [(mine, other) for mine, other in pairs if not window.task.agrees(mine, other)]
        share, (low, high) = len(others) / len(pairs), share_interval(len(others), len(pairs))
        p = binomial_tail(len(others), len(pairs), self.least)
        named = Counter((", ".join(window.task.named(mine)), ", ".join(window.task.named(other))) for mine, other in others)
        rows = [{"live": mine, "candidate": other, "requests": count} for (mine, other), count in named.most_common(_SHOWN)]
        about = {"share": per_cent(share), "count": f"{len(pairs):,}", "allowed": per_cent(self.least), "p": write_p(p)}
        why = said("shadow_disagreement", **about)
        return Finding(share, low, high, p, changed=p < SIGNIFICANT and share >= self.least, why=why, evidence=rows, n=len(pairs))
