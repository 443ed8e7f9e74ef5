"""Sees that texts have become longer or shorter."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.monitors._shares import compare_means


class Length(Monitor):
    """The number of tokens of a text (of characters, where tokens are not counted), compared by the test of Kolmogorov and Smirnov."""

    needs: ClassVar[frozenset[Need]] = frozenset({"records"})
    title: ClassVar[str] = "mean length of a text"
    unit: ClassVar[Unit] = "number"
    least: float = Field(
        default=0.1, ge=0, le=1, description="Share of texts that must be longer, or shorter, than in the reference to count as a change."
    )

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the mean length of a text."""
        counted = (reference.tokens >= 0).any() and (window.tokens >= 0).any()
        before, now = (_tokens(one) if counted else _characters(one) for one in (reference, window))
        if len(before) < 2 or len(now) < 2:
            return Finding.silent(said("texts.few"), len(now))
        what = said(f"length.{'tokens' if counted else 'characters'}", now=f"{now.mean():.1f}", before=f"{before.mean():.1f}")
        return compare_means(before, now, self.least, what, digits=1)


def _tokens(window: Window) -> NDArray[np.float64]:
    return window.tokens[window.tokens >= 0].astype(np.float64)


def _characters(window: Window) -> NDArray[np.float64]:
    return np.array([len(text) for text in window.texts() if text is not None], np.float64)
