"""Sees from feedback that more answers are wrong, however often one looks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.sequential import bounds
from vertune.metrics.streams import Adwin, PageHinkley, last_change
from vertune.monitors._shares import examples, per_cent

_ALPHA = 0.05
_LABELLED = 30
"""Least number of labelled answers of the reference from which its error rate is compared, and of errors that say which ones are usual."""
_USUAL = 0.9
"""The share of the errors of numbers that are usual."""


class FeedbackQuality(Monitor):
    """The error rate on feedback, with bounds that hold at all times together, ADWIN and Page-Hinkley on the stream of errors.

    It is a change if one of the three sees a rise: the lower bound of the rate since the last change is above the upper bound of the
    reference; ADWIN cuts its window, and the rate after the cut is higher; or the sum of Page-Hinkley rises too far. Rates are those of
    answers with feedback: if people report wrong answers alone, the rate is no accuracy, and only its changes say something. A number
    counts as wrong if it is farther from the right one than nine of ten answers of the reference are.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    of_window: ClassVar[frozenset[Need]] = frozenset({"feedback"})
    sequential: ClassVar[bool] = True
    title: ClassVar[str] = "error rate on feedback"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.03, gt=0, le=1, description="Rise of the error rate from which it counts as a change.")
    delta: float = Field(default=0.002, gt=0, lt=1, description="Probability by which ADWIN sees a change where there is none.")
    between: float = Field(default=100_000, ge=1000, description="Number of labelled requests between two false alarms of Page-Hinkley.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the error rate since the last change; `window` holds all requests since the reference."""
        limit = _limit(reference, window)
        wrong = _wrong(window, limit)
        rows = np.isfinite(wrong).nonzero()[0]
        if not len(rows):
            return Finding.silent(said("feedback_quality.few", count=int(window.judged.sum()), needed=_LABELLED))
        errors, known = wrong[rows], _wrong(reference, limit)
        known = known[np.isfinite(known)]
        usual = float(known.mean()) if len(known) >= _LABELLED else None
        adwin = Adwin(self.delta)
        last_change(errors, adwin)
        recent = errors[len(errors) - adwin.count :]
        rate, before = float(recent.mean()), usual if usual is not None else float(errors.mean())
        low, high = bounds(int(recent.sum()), len(recent), _ALPHA)
        seen = self._seen(errors, recent, known if usual is not None else None)
        changed = bool(seen) and rate - before >= self.least
        figures = {
            "rate": per_cent(rate), "count": f"{len(recent):,}",
            "before": said(f"feedback_quality.{'all' if usual is None else 'reference'}", share=per_cent(before)),
            "seen": said("feedback_quality.rise", detectors=seen) if seen else said("feedback_quality.none"),
        }  # fmt: skip
        why = said("feedback_quality", **figures) if limit is None else said("feedback_quality.large", limit=f"{limit:.3g}", **figures)
        evidence = _evidence(window, rows[len(errors) - len(recent) :][recent == 1])
        return Finding(rate, low, high, None, changed=changed, why=why, evidence=evidence, n=len(recent))

    def _seen(self, errors: NDArray[np.float64], recent: NDArray[np.float64], known: NDArray[np.float64] | None) -> list[str]:
        """Return the detectors that see a rise of the errors, in words."""
        seen: list[str] = []
        if len(recent) < len(errors) and recent.mean() > errors[: len(errors) - len(recent)].mean():
            seen.append("ADWIN")
        if known is None:
            return seen
        if bounds(int(recent.sum()), len(recent), _ALPHA / 2)[0] > bounds(int(known.sum()), len(known), _ALPHA / 2)[1]:
            seen.insert(0, said("feedback_quality.interval"))
        detector = PageHinkley.of_rate(float(known.mean()), self.least, self.between)
        place = last_change(errors, detector)
        if place is not None and place >= len(errors) - len(recent):
            seen.append("Page-Hinkley")
        return seen


def _limit(reference: Window, window: Window) -> float | None:
    """Return how far a number may be from the right one; None if no distance is known, or too few.

    It is known from the reference, or else from the first answers with feedback: a later limit would move with the errors.
    """
    first = (one.errors[np.isfinite(one.errors)][: None if one is reference else _LABELLED] for one in (reference, window))
    known = next((errors for errors in first if len(errors) >= _LABELLED), None)
    return None if known is None else float(np.quantile(known, _USUAL, method="higher"))


def _wrong(window: Window, limit: float | None) -> NDArray[np.float64]:
    """Return 1 for each wrong answer, 0 for each right one, NaN where that is not known; what people call right or wrong counts first."""
    wrong: NDArray[np.float64] = 1 - window.right
    if limit is None:
        return wrong
    return np.where(np.isnan(wrong) & np.isfinite(window.errors), window.errors > limit, wrong)


def _evidence(window: Window, wrong: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return the last wrong answers with their texts and right answers, as far as they are known."""
    rows = []
    for row in wrong[::-1][:8].tolist():
        text = examples(window, [row])
        rows.append(
            {
                "text": text[0]["text"] if text else "",
                "answered": _answered(window, row),
                "right": ", ".join(str(value) for value in (window.targets[row] or {}).values()),
            }
        )
    return rows


def _answered(window: Window, row: int) -> str:
    """Return the labels of an answer, or else its numbers."""
    answer, task = window.answers[row] or {}, window.task
    numbers = [answer[column.name] for column in task.target_columns if column.type == "number" and column.name in answer]
    if numbers:
        return ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in numbers)
    return ", ".join(task.named(answer)) if answer else ""
