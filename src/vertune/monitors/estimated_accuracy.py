"""Estimates the accuracy without labels, and says when that can't be done."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.lexical.domain import known_words
from vertune.metrics.estimated import Calibration, estimate
from vertune.monitors._shares import examples, kept_rows, per_cent, write_p

_LABELLED = 50
"""Least number of labelled answers of the reference from which confidences are calibrated."""
_NEAREST = 0.01
"""Share of the reference's own vectors that are as far from all others as one that counts as unlike."""
_FEW_KNOWN = 0.05
"""Share of the reference's texts with as few known words as those that are shown."""
_SAMPLE = 1000


class EstimatedAccuracy(Monitor):
    """The mean of confidences that were calibrated on the labelled reference: the accuracy, as long as inputs alone have changed.

    It can't be known if nothing says how often the reference was right, if answers have no confidence, or if texts are unlike all of the
    reference, by their words or by their vectors: a model can be sure and wrong about those. Nor does it see that right answers are others
    than they were; feedback does.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"answers"})
    title: ClassVar[str] = "estimated accuracy"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.03, ge=0, le=1, description="Fall of the estimated accuracy from which it counts as a change.")
    words: float = Field(default=0.03, gt=0, le=1, description="Fall of the mean share of known words from which nothing is estimated.")
    far: float = Field(
        default=0.1, gt=0, le=1, description="Share of vectors far from all of the reference from which nothing is estimated."
    )

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the estimated accuracy."""
        known = np.isfinite(reference.right) & np.isfinite(reference.confidences)
        sure, now = np.isfinite(reference.confidences), np.isfinite(window.confidences)
        count = int(now.sum())
        if not count:
            return Finding.silent(said("estimated_accuracy.unsure"))
        if known.sum() < _LABELLED:
            return Finding.silent(said("estimated_accuracy.few", known=int(known.sum()), needed=_LABELLED), count)
        unlike, rows = self._unlike(reference, window)
        if unlike:
            why = said("estimated_accuracy.unlike", unlike=unlike)
            return Finding(None, why=why, evidence=examples(window, rows, "unlike the reference"), n=count)
        calibration = Calibration.fit(reference.confidences[known], reference.right[known])
        found = estimate(calibration, reference.confidences[sure], window.confidences[now])
        changed = found.p < SIGNIFICANT and found.before - found.accuracy >= self.least
        about = {"accuracy": per_cent(found.accuracy), "before": per_cent(found.before), "p": write_p(found.p)}
        why = said("estimated_accuracy", **about)
        return Finding(found.accuracy, found.low, found.high, found.p, changed=changed, why=why, evidence=[], n=count)

    def _unlike(self, reference: Window, window: Window) -> tuple[str, NDArray[np.int64]]:
        """Return in which way texts are unlike all of the reference, as a sentence, and the positions of those that are the most.

        The sentence is empty if they are not, and if texts are not kept.
        """
        rows = [kept_rows(one, _SAMPLE) for one in (reference, window)]
        if not all(map(len, rows)):
            return "", rows[1]
        texts = [one.texts() for one in (reference, window)]
        own, known = known_words(*([listed[row] or "" for row in found] for listed, found in zip(texts, rows, strict=True)))
        fall = float(own.mean() - known.mean())
        if fall > self.words:
            order = np.argsort(known, kind="stable")
            least = rows[1][order][known[order] < np.quantile(own, _FEW_KNOWN)]
            shares = [per_cent(1 - float(one.mean())) for one in (known, own)]
            return said("estimated_accuracy.words", now=shares[0], before=shares[1]), least
        before, now = reference.states(rows[0].tolist()), window.states(rows[1].tolist())
        far = np.zeros(len(rows[1]), bool) if before is None or now is None else _far(before, now)
        share = float(far.mean()) - _NEAREST
        return (said("estimated_accuracy.far", share=per_cent(share)) if share > self.far else ""), rows[1][far]


def _far(reference: NDArray[np.float32], window: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which vectors are further from all of the reference than nearly all of the reference's vectors are from each other."""
    among = reference @ reference.T
    np.fill_diagonal(among, -np.inf)
    limit = np.quantile(among.max(1), _NEAREST)
    far: NDArray[np.bool_] = (window @ reference.T).max(1) < limit
    return far
