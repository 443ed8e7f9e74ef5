"""Computes metrics of answers with confidence intervals: overall, compared with baselines, and per group of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.metrics.bootstrap import Interval, Tallies, intervals, paired
from vertune.reports.words import baseline_name, comparison_sentence

ROUNDS = 1000
"""Number of bootstrap resamples from which an interval is computed."""
_MOST_VALUES = 12
"""Greatest number of values of a column for which `slices` forms one group of records each; all other values form one group."""

Entry = dict[str, float | None]
"""The `value` of a metric, and the ends `low` and `high` of its 95 % interval; None for a number that can't be computed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The records for which answers are scored, the task that defines the metrics, and the seed of the bootstrap."""

    task: Task
    records: Sequence[Record]
    seed: int = 0

    def metrics(self, answers: Sequence[Answer], tally: NDArray[Any]) -> dict[str, Entry]:
        """Return every metric of these answers by name, with its bootstrap interval if the metric is computed from `tally`.

        `tally` is what the task's method `tally` returns for these answers: one row of counts per record or query.
        """
        found = intervals(tally, self.task.summarise, ROUNDS, self.seed)
        scores = self.task.score(self.records, answers)
        return {
            name: {**interval_entry(found[name]), "value": _finite(value)}
            if name in found
            else {"value": _finite(value), "low": None, "high": None}
            for name, value in scores.items()
        }

    def differences(self, ours: NDArray[Any], theirs: NDArray[Any]) -> dict[str, Entry]:
        """Return the difference of every metric between two models, `ours` minus `theirs`, with paired bootstrap intervals.

        Both arguments are results of the task's method `tally`: one row of counts per record or query.
        """
        summarise = self.task.summarise
        differences = paired(Tallies(ours, summarise), Tallies(theirs, summarise), ROUNDS, self.seed)
        return {name: interval_entry(difference) for name, difference in differences.items()}


def interval_entry(found: Interval) -> Entry:
    """Convert an interval to a mapping of JSON values; NaN and infinite numbers become None."""
    return {"value": _finite(found.value), "low": _finite(found.low), "high": _finite(found.high)}


def _finite(value: float) -> float | None:
    """Return the value; None if it is infinite or NaN, which JSON can't express."""
    return float(value) if np.isfinite(value) else None


def compare_with_baselines(sample: Sample, tally: NDArray[Any], baselines: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Compare a model with baselines, for a report.

    The result has the keys `baselines` (the metrics of the baseline), `differences` (of the metrics, model minus baseline) and
    `verdicts` (whether the model or the baseline is better); each is a mapping by name of the baseline. `tally` is what the task's
    method `tally` returns for the model's answers: one row of counts per record or query.
    """
    goal = sample.task.goal
    lower = goal in sample.task.lower_is_better
    result: dict[str, Any] = {"baselines": {}, "differences": {}, "verdicts": {}}
    for name, answers in baselines.items():
        theirs = sample.task.tally(sample.records, answers)
        differences = sample.differences(tally, theirs)
        winner, sentence = comparison_sentence(differences.get(goal, interval_entry(_UNKNOWN)), lower, "the model", baseline_name(name))
        result["baselines"][name] = sample.metrics(answers, theirs)
        result["differences"][name] = differences
        result["verdicts"][name] = {"winner": (None, "model", "baseline")[winner], "sentence": sentence}
    return result


_UNKNOWN = Interval(np.nan, np.nan, np.nan)


def slices(sample: Sample, tally: NDArray[Any], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the metrics of groups of records: groups by length of the text, and, for each of these columns, groups by its values.

    Returns an empty list if the metrics are computed not per record, but per query, because a group could contain only some of the
    records of a query.
    """
    if len(tally) != len(sample.records):
        return []
    parts = [("length", _by_length(sample)), *((column, _by_value(sample.records, column)) for column in columns)]
    return [
        {
            "column": column,
            "values": [
                {"name": name, "rows": len(rows), "metrics": _summary(sample, tally[rows])} for name, rows in groups.items() if len(rows)
            ],
        }
        for column, groups in parts
        if len(groups) > 1
    ]


def _summary(sample: Sample, tally: NDArray[Any]) -> dict[str, Entry]:
    """Return the metrics of a group of records with their bootstrap intervals, from one row of counts per record of the group."""
    return {name: interval_entry(found) for name, found in intervals(tally, sample.task.summarise, ROUNDS, sample.seed).items()}


def _by_length(sample: Sample) -> dict[str, NDArray[np.int64]]:
    """Divide the records into thirds by the number of characters of their texts; return the row indices of each third by its name."""
    fields = [column.name for column in sample.task.input_columns if column.type == "text"]
    lengths = np.array([sum(len(str(record.get(field) or "")) for field in fields) for record in sample.records])
    first, second = (int(value) for value in np.quantile(lengths, [1 / 3, 2 / 3]))
    groups = {
        f"short, to {first} characters": np.flatnonzero(lengths <= first),
        f"middle, to {second}": np.flatnonzero((lengths > first) & (lengths <= second)),
        f"long, to {lengths.max()}": np.flatnonzero(lengths > second),
    }
    return {name: rows for name, rows in groups.items() if len(rows)}


def _by_value(records: Sequence[Record], column: str) -> dict[str, NDArray[np.int64]]:
    """Return the row indices for each of the 12 most frequent values of a column, the most frequent first.

    All rows with other values form one more group.
    """
    values = np.array(["(none)" if record.get(column) is None else str(record[column]) for record in records])
    names, counts = np.unique(values, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    groups = {str(name): np.flatnonzero(values == name) for name in order[:_MOST_VALUES]}
    rest = order[_MOST_VALUES:]
    return {**groups, f"{len(rest)} other values": np.flatnonzero(np.isin(values, rest))} if len(rest) else groups


def curves(events: Sequence[Mapping[str, Any]], sign: float = 1.0, points: int = 120) -> dict[str, list[list[float]]]:
    """Return the training curves `loss` and `metric`, each a list of [step, value], from the log of events of a model.

    `sign` is -1 if training negated the metric. If the model was trained several times, only the last training with validation
    counts. If this training was interrupted and resumed from a checkpoint, the curves include the steps up to the checkpoint.
    `points` is the greatest number of points of the loss curve.
    """
    loss: dict[int, float] = {}
    metric: dict[int, float] = {}
    before = (loss, metric)
    for event in events:
        kind, step = event.get("event"), event.get("step", 0)
        if kind == "refit":
            break
        if kind == "training":
            before, (loss, metric) = (loss, metric), ({}, {})
        elif kind == "resumed":
            loss, metric = ({at: value for at, value in old.items() if at <= step} for old in before)
        elif kind == "step":
            loss[step] = event["loss"]
        elif kind == "evaluated":
            metric[step] = sign * event["metric"]
    return {"loss": _thinned(sorted(loss.items()), points), "metric": [[float(at), value] for at, value in sorted(metric.items())]}


def _thinned(curve: Sequence[tuple[int, float]], points: int) -> list[list[float]]:
    """Reduce a curve to at most `points` points, each the mean of several adjacent points."""
    if not curve:
        return []
    return [[float(value) for value in part.mean(axis=0)] for part in np.array_split(np.array(curve, float), min(points, len(curve)))]
