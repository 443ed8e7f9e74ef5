"""Sees that texts have other words, by a classifier that learns to tell them from those of the reference."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.lexical.domain import tell_apart
from vertune.monitors._shares import write_p


class TextDrift(Monitor):
    """How well a classifier of words tells the window from the reference: the area under its ROC curve, with the most telling words.

    Whether the difference is chance is decided by permutations of which texts are new. Of equal texts, one is compared.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"records"})
    title: ClassVar[str] = "how well new texts can be told apart (ROC-AUC)"
    unit: ClassVar[Unit] = "number"
    least: float = Field(default=0.01, ge=0, le=0.5, description="Distance of the area from 0.5 from which it counts as a change.")
    sample: int = Field(default=2000, ge=100, description="Largest number of texts of the reference, and of the window, that are compared.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the area under the ROC curve of the classifier."""
        # a text that is sent again and again would be learnt by heart, and taken for a change
        before, now = (list(dict.fromkeys(text for text in one.texts() if text)) for one in (reference, window))
        before, now = self._sampled(before), self._sampled(now)
        if min(len(before), len(now)) < 20:
            return Finding.silent(said("texts.few"), len(now))
        found = tell_apart(before, now)
        words = [
            {"word": word.word, "share in the window": round(word.window, 4), "share in the reference": round(word.reference, 4)}
            for word in found.words
        ]
        why = said("text_drift", area=f"{found.area:.3f}", p=write_p(found.p))
        changed = found.p < SIGNIFICANT and found.area >= 0.5 + self.least
        return Finding(found.area, found.low, found.high, found.p, changed=changed, why=why, evidence=words, n=len(now))

    def _sampled(self, texts: list[str]) -> list[str]:
        """Return a random sample of texts, the same in every call."""
        if len(texts) <= self.sample:
            return texts
        return [texts[row] for row in np.sort(np.random.default_rng(0).choice(len(texts), self.sample, replace=False))]
