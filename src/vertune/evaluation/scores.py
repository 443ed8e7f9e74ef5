"""Scores answers: metrics with confidence intervals, overall, against baselines and per slice; independent of models and files."""

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
"""Number of bootstrap resamples per interval."""
_MOST_VALUES = 12
"""Number of values of a column that get a slice of their own; all others share one."""

Entry = dict[str, float | None]
"""`value` of a metric, and `low` and `high` of its interval; None if a number can't be computed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The records to score, the task that scores answers to them, and the seed of the bootstrap."""

    task: Task
    records: Sequence[Record]
    seed: int = 0

    def metrics(self, answers: Sequence[Answer], tally: NDArray[Any]) -> dict[str, Entry]:
        """Return every metric of these answers by name; one that is computed from the task's tallies also has a bootstrap interval."""
        found = intervals(tally, self.task.summarise, ROUNDS, self.seed)
        scores = self.task.score(self.records, answers)
        return {
            name: {**interval_entry(found[name]), "value": _finite(value)}
            if name in found
            else {"value": _finite(value), "low": None, "high": None}
            for name, value in scores.items()
        }

    def differences(self, ours: NDArray[Any], theirs: NDArray[Any]) -> dict[str, Entry]:
        """Return the difference `ours` − `theirs` of every metric, with paired intervals, from the tallies of both."""
        summarise = self.task.summarise
        differences = paired(Tallies(ours, summarise), Tallies(theirs, summarise), ROUNDS, self.seed)
        return {name: interval_entry(difference) for name, difference in differences.items()}


def interval_entry(found: Interval) -> Entry:
    """Convert an interval to JSON values."""
    return {"value": _finite(found.value), "low": _finite(found.low), "high": _finite(found.high)}


def _finite(value: float) -> float | None:
    """Return the value; None if it is infinite or NaN, which JSON can't express."""
    return float(value) if np.isfinite(value) else None


def compare_with_baselines(sample: Sample, tally: NDArray[Any], baselines: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Return the metrics of each baseline, the differences from them and a verdict, as a report's entries by the baseline's name."""
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
    """Return the metrics of groups of records: by length, and by the values of each of these columns.

    Returns an empty list if the metrics are computed from units larger than a record, such as queries: some of the records of a
    query are not a smaller sample of the same problem.
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
    """Return the metrics of a group of records, with intervals."""
    return {name: interval_entry(found) for name, found in intervals(tally, sample.task.summarise, ROUNDS, sample.seed).items()}


def _by_length(sample: Sample) -> dict[str, NDArray[np.int64]]:
    """Return the row indices of the shortest, middle and longest third, by the number of characters of all text inputs."""
    fields = [column.name for column in sample.task.columns if column.role == "input" and column.type == "text"]
    lengths = np.array([sum(len(str(record.get(field) or "")) for field in fields) for record in sample.records])
    first, second = (int(value) for value in np.quantile(lengths, [1 / 3, 2 / 3]))
    groups = {
        f"short, to {first} characters": np.flatnonzero(lengths <= first),
        f"middle, to {second}": np.flatnonzero((lengths > first) & (lengths <= second)),
        f"long, to {lengths.max()}": np.flatnonzero(lengths > second),
    }
    return {name: rows for name, rows in groups.items() if len(rows)}


def _by_value(records: Sequence[Record], column: str) -> dict[str, NDArray[np.int64]]:
    """Return the row indices of each value of a column, the most frequent values first."""
    values = np.array(["(none)" if record.get(column) is None else str(record[column]) for record in records])
    names, counts = np.unique(values, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    groups = {str(name): np.flatnonzero(values == name) for name in order[:_MOST_VALUES]}
    rest = order[_MOST_VALUES:]
    return {**groups, f"{len(rest)} other values": np.flatnonzero(np.isin(values, rest))} if len(rest) else groups


def curves(events: Sequence[Mapping[str, Any]], sign: float = 1.0, points: int = 120) -> dict[str, list[list[float]]]:
    """Return the points of `loss` and `metric` by step, from a model's events; `sign` is -1 if training negated the metric.

    If a run trained several times, only the last training with validation counts. A resumed training continues the curves of
    the interrupted one from its checkpoint.
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
    """Reduce a curve to at most `points` points, each the mean of neighbouring ones."""
    if not curve:
        return []
    return [[float(value) for value in part.mean(axis=0)] for part in np.array_split(np.array(curve, float), min(points, len(curve)))]
