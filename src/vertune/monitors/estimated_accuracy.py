"""Estimates the accuracy without labels, and says when that can't be done."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.lexical.domain import unlike
from vertune.metrics.estimated import Calibration, estimate
from vertune.monitors._shares import examples, per_cent, write_p

_LABELLED = 50
"""Least number of labelled answers of the reference from which confidences are calibrated."""
_NEAREST = 0.01
"""Share of the reference's own vectors that are as far from all others as one that counts as unlike."""
_SAMPLE = 1000


class EstimatedAccuracy(Monitor):
    """The mean of confidences that were calibrated on the labelled reference: the accuracy, as long as inputs alone have changed.

    It can't be known if nothing says how often the reference was right, if answers have no confidence, or if many texts are unlike all of
    the reference: a model can be sure and wrong about those. Nor does it see that right answers are others than they were; feedback does.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"answers"})
    title: ClassVar[str] = "estimated accuracy"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.03, ge=0, le=1, description="Fall of the estimated accuracy from which it counts as a change.")
    unlike: float = Field(default=0.1, gt=0, le=1, description="Share of texts unlike the reference from which nothing is estimated.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the estimated accuracy."""
        known = np.isfinite(reference.right) & np.isfinite(reference.confidences)
        sure, now = np.isfinite(reference.confidences), np.isfinite(window.confidences)
        count = int(now.sum())
        if not count:
            return Finding.silent("The answers have no confidence, so their accuracy can't be estimated.")
        if known.sum() < _LABELLED:
            return Finding.silent(
                f"Of {int(known.sum())} answers of the reference it is known whether they are right; {_LABELLED} are needed to know "
                "what a confidence means.", count,
            )  # fmt: skip
        share, rows = _unlike(reference, window)
        if share > self.unlike:
            why = (
                f"{per_cent(share)} of the texts are unlike all of the reference, and a confidence in their answers means nothing. "
                "Collect feedback or labels to know the accuracy."
            )
            return Finding(None, why=why, evidence=examples(window, rows, "unlike the reference"), n=count)
        calibration = Calibration.fit(reference.confidences[known], reference.right[known])
        found = estimate(calibration, reference.confidences[sure], window.confidences[now])
        changed = found.p < SIGNIFICANT and found.before - found.accuracy >= self.least
        why = (
            f"If only inputs have changed, {per_cent(found.accuracy)} of the answers are right, {per_cent(found.before)} in the reference "
            f"({write_p(found.p)})."
        )
        return Finding(found.accuracy, found.low, found.high, found.p, changed=changed, why=why, evidence=[], n=count)


def _unlike(reference: Window, window: Window) -> tuple[float, NDArray[np.int64]]:
    """Return the share of texts in the window that are unlike all of the reference, and their positions."""
    rows = [_with_texts(one) for one in (reference, window)]
    if not all(map(len, rows)):
        return 0.0, rows[1]
    before, now = reference.states(rows[0].tolist()), window.states(rows[1].tolist())
    if before is not None and now is not None:
        far = _far(before, now)
    else:
        texts = [[one.texts()[row] or "" for row in found] for one, found in zip((reference, window), rows, strict=True)]
        far = unlike(texts[0], texts[1])
    return max(0.0, float(far.mean()) - _NEAREST), rows[1][far]


def _with_texts(window: Window) -> NDArray[np.int64]:
    """Return the positions of at most `_SAMPLE` records whose texts are kept, at random, the same in every call."""
    rows = np.array([row for row, record in enumerate(window.records) if record is not None], np.int64)
    return rows if len(rows) <= _SAMPLE else np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))


def _far(reference: NDArray[np.float32], window: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which vectors are further from all of the reference than nearly all of the reference's vectors are from each other."""
    among = reference @ reference.T
    np.fill_diagonal(among, -np.inf)
    limit = np.quantile(among.max(1), _NEAREST)
    far: NDArray[np.bool_] = (window @ reference.T).max(1) < limit
    return far
