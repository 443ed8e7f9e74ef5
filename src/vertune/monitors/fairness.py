"""Sees that answers for one group of requests have become worse than for the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.distributions import two_sided
from vertune.metrics.normal import QUANTILE
from vertune.monitors._shares import per_cent, write_p

_FEWEST = 30
"""Least number of records of a group, in the window and in the reference."""
_MOST_GROUPS = 50
"""Largest number of groups that are compared: those with the most records in the window."""


class Fairness(Monitor):
    """By how much the accuracy of a group differs from that of all others, and whether this has changed since the reference.

    Groups are the values of a column. Without enough feedback in both, mean confidences are compared in place of accuracies. The p of the
    group with the largest change is multiplied by the number of groups (Bonferroni). The standard error of an accuracy is that of a group
    with one more right and one more wrong answer (Agresti and Caffo 2000), so that a group without a wrong answer has one, too.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"records", "answers"})
    reaches_back: ClassVar[bool] = True
    on_request: ClassVar[bool] = True
    title: ClassVar[str] = "largest gap of a group"
    unit: ClassVar[Unit] = "share"
    column: str = Field(default="", description="The field of a record by whose values requests are grouped.")
    least: float = Field(default=0.05, ge=0, le=1, description="Change of a group's gap from which it counts as a change.")

    def lacks(self, reference: Window, window: Window) -> str:
        """Return also whether no record has the column."""
        for name, one in (("window", window), ("reference", reference)):
            if self.column and not (_groups(one, self.column) != "").any():
                return said(f"fairness.{name}", column=self.column)
        return super().lacks(reference, window)

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the largest gap of a group in the window."""
        if not self.column:
            return Finding.silent(said("fairness.unnamed"))
        both = all("feedback" in one.has for one in (reference, window))
        found, count = _gaps(self.column, reference, window, by_feedback=True) if both else ([], 0)
        if not found:
            both = False
            found, count = _gaps(self.column, reference, window, by_feedback=False)
        if not found:
            return Finding.silent(said("fairness.few", column=self.column, least=_FEWEST), count)
        worst = max(found, key=lambda one: abs(_score(one)))
        p = min(1.0, two_sided(_score(worst)) * len(found))
        what, side = said("fairness.accuracy" if both else "fairness.confidence"), "above" if worst["now"] > 0 else "below"
        why = said(
            "fairness", what=what, column=self.column, group=worst["group"], gap=per_cent(abs(worst["now"])), side=said(f"fairness.{side}"),
            change=per_cent(worst["change"]), p=write_p(p),
        )  # fmt: skip
        largest = max(found, key=lambda one: abs(one["now"]))
        value, reach = abs(largest["now"]), QUANTILE * largest["error"]
        shown = [
            {"group": one["group"], str(what): per_cent(one["score"]), "gap": per_cent(one["now"]), "records": one["count"]}
            for one in found
        ]
        changed = p < SIGNIFICANT and abs(worst["change"]) >= self.least
        return Finding(value, max(0.0, value - reach), min(1.0, value + reach), p, changed=changed, why=why, evidence=shown, n=count)


def _groups(window: Window, column: str) -> NDArray[np.str_]:
    """Return the group of each record; an empty text where it has none."""
    names = ["" if record is None or record.get(column) is None else str(record[column]) for record in window.records]
    return np.array(names, np.str_)


def _gaps(column: str, reference: Window, window: Window, by_feedback: bool) -> tuple[list[dict[str, Any]], int]:
    """Return how each group compares with the others, and the number of records in the window of which this is known."""
    scores = [one.right if by_feedback else one.confidences for one in (reference, window)]
    groups = [_groups(one, column) for one in (reference, window)]
    rows = [(values, np.isfinite(values) & (names != "")) for values, names in zip(scores, groups, strict=True)]
    counts = [Counter(names[known].tolist()) for names, (_, known) in zip(groups, rows, strict=True)]
    named = sorted(counts[0].keys() & counts[1].keys(), key=lambda name: (-counts[1][name], name))[:_MOST_GROUPS]
    found = (_gap(name, groups, rows, by_feedback) for name in named)
    return [one for one in found if one is not None], int(rows[1][1].sum())


def _score(one: dict[str, Any]) -> float:
    """Return the change of a group's gap in standard errors."""
    change, spread = float(one["change"]), float(one["spread"])
    if spread > 0:
        return change / spread
    return math.copysign(math.inf, change) if change else 0.0


def _gap(
    name: str, groups: Sequence[NDArray[np.str_]], rows: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]], by_feedback: bool
) -> dict[str, Any] | None:
    """Return how a group compares with the others in the window, and how much this has changed; None if it is too small."""
    gaps, errors = [], []
    for names, (values, known) in zip(groups, rows, strict=True):
        inside, outside = values[known & (names == name)], values[known & (names != name)]
        if min(len(inside), len(outside)) < _FEWEST:
            return None
        gaps.append(float(inside.mean() - outside.mean()))
        errors.append(math.sqrt(_variance(inside, by_feedback) + _variance(outside, by_feedback)))
    values, known = rows[1]
    own = values[known & (groups[1] == name)]
    return {
        "group": name, "score": float(own.mean()), "count": len(own), "now": gaps[1], "change": gaps[1] - gaps[0], "error": errors[1],
        "spread": math.hypot(*errors),
    }  # fmt: skip


def _variance(values: NDArray[np.float64], are_shares: bool) -> float:
    """Return the variance of the mean of values; of right (1) and wrong (0) answers, as if there was one more of each."""
    if not are_shares:
        return float(values.var()) / len(values)
    share = (float(values.sum()) + 1) / (len(values) + 2)
    return share * (1 - share) / (len(values) + 2)
