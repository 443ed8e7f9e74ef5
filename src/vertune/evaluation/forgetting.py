"""Measures what a retrained model has forgotten: its scores on every earlier part of the test rows and every label, beside those before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.evaluation import rows
from vertune.metrics import paired
from vertune.reports.words import change_limits

_SIDE = 0.025
"""Error probability on each side of the intervals."""


def forgetting(
    task: Task, records: Sequence[Record], answers: tuple[Sequence[Answer], Sequence[Answer]], slices: Mapping[str, NDArray[np.int64]]
) -> dict[str, Any]:
    """Compare a retrained model with the live one in slices of the test rows, and by label.

    `answers` are those of the live model and of the retrained one, whose task is `task`; `slices` has the indices of the records of each
    slice. The result has the `metric` of single rows, and two lists, `slices` and `labels`, of mappings with `name`, `rows`, `before`,
    `after`, `change` and the ends `low` and `high` of its 95 % interval, None where one row does not tell. Both lists are empty for a
    ranking, in which rows have no score.
    """
    named = {label for said in answers for answer in said for label in task.named(answer)}
    judge = rows.knowing(task, sorted(named))
    metric = rows.row_metric(judge, records, answers[0])
    before, after = (rows.row_scores(judge, records, said, metric).values for said in answers)
    if len(before) != len(records):
        return {"metric": metric, "slices": [], "labels": []}
    groups = {"slices": slices, "labels": rows.by_label(judge, records) if task.names_labels else {}}
    sign, limits = -1.0 if metric in task.lower_is_better else 1.0, change_limits(metric)
    return {"metric": metric} | {
        kind: [
            _compared(name, sign * before[members], sign * after[members], sign, limits) for name, members in found.items() if len(members)
        ]
        for kind, found in groups.items()
    }


def _compared(
    name: str, before: NDArray[np.float64], after: NDArray[np.float64], sign: float, limits: tuple[float, float]
) -> dict[str, Any]:  # fmt: skip
    """Return the mean scores of two models on the same rows, and their difference with its interval."""
    found = paired.interval(sign * (after - before), _SIDE).within(limits)
    low, high = (end if math.isfinite(end) else None for end in sorted((sign * found.low, sign * found.high)))
    return {
        "name": name, "rows": len(before), "before": float(before.mean()), "after": float(after.mean()), "change": sign * found.value,
        "low": low, "high": high,
    }  # fmt: skip
