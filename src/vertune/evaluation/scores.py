"""Computes metrics of a model's answers with bootstrap confidence intervals, for a report.

They are computed for all records, for groups of records, and in comparison with baselines (simple models).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.metrics.bootstrap import Interval, Tallies, intervals, paired, units
from vertune.reports.words import baseline_name, change_limits, comparison_sentence, limits

ROUNDS = 1000
"""Number of bootstrap resamples from which an interval is computed."""
_MOST_VALUES = 12
"""Greatest number of values of a column for which `slices` forms one group of records each; all other values form one group."""

Entry = dict[str, float | None]
"""The `value` of a metric, and the ends `low` and `high` of its 95 % interval; None for a number that can't be computed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The records on which models are evaluated, the task that defines the metrics, and the seed of the bootstrap."""

    task: Task
    records: Sequence[Record]
    seed: int = 0

    def metrics(self, answers: Sequence[Answer], tally: NDArray[Any]) -> dict[str, Entry]:
        """Return every metric of a model's answers by name, with its value and its 95 % bootstrap interval.

        `tally` is the result of the task's method `tally` for these answers: one row of statistics per record or query,
        from whose sum the metrics are computed. A metric that can't be computed from it has no interval: both ends are
        None.
        """
        found = intervals(self.units(tally), self.task.summarise, ROUNDS, self.seed, limits)
        scores = self.task.score(self.records, answers)
        return {
            name: {**interval_entry(found[name]), "value": _finite(value)}
            if name in found
            else {"value": _finite(value), "low": None, "high": None}
            for name, value in scores.items()
        }

    def differences(self, ours: NDArray[Any], theirs: NDArray[Any]) -> dict[str, Entry]:
        """Return the difference of every metric between two models, `ours` minus `theirs`, with paired bootstrap intervals.

        Both arguments are results of the task's method `tally` for the answers of one model: one row of statistics per
        record or query, from whose sum the metrics are computed.
        """
        summarise = self.task.summarise
        differences = paired(Tallies(self.units(ours), summarise), Tallies(self.units(theirs), summarise), ROUNDS, self.seed)
        return {name: interval_entry(difference.within(change_limits(name))) for name, difference in differences.items()}

    def units(self, tally: NDArray[Any]) -> NDArray[Any]:
        """Return the tallies that are drawn together: one for all records with equal inputs."""
        return units(tally, self.records, [column.name for column in self.task.input_columns])


def interval_entry(found: Interval) -> Entry:
    """Convert the value and the interval of a metric to a dict for JSON, with the keys `value`, `low` and `high`.

    NaN and infinite numbers become None.
    """
    return {"value": _finite(found.value), "low": _finite(found.low), "high": _finite(found.high)}


def _finite(value: float) -> float | None:
    """Return the value, or None if it is infinite or NaN, which JSON can't express."""
    return float(value) if np.isfinite(value) else None


def compare_with_baselines(sample: Sample, tally: NDArray[Any], baselines: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Compare a model with each baseline (simple model), for a report.

    `baselines` contains the answers of each baseline by its name. `tally` is the result of the task's method `tally`
    for the model's answers: one row of statistics per record or query, from whose sum the metrics are computed. The
    result has three entries, each a dict by name of the baseline: `baselines` (its metrics), `differences` (the model's
    metrics minus the baseline's) and `verdicts` (which of the two is better, and a sentence about it).
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
    """Compute the metrics of groups of records, for a report: by length of the text, and by value of each of `columns`.

    `tally` is the result of the task's method `tally` for a model's answers. Returns `[{"column", "values": [{"name",
    "rows", "metrics"}, …]}, …]` with one entry per way of grouping; its `column` is `length` or one of `columns`.
    Returns an empty list if `tally` has one row per query instead of one per record, because a group could contain only
    some of the records of a query.
    """
    if len(tally) != len(sample.records):
        return []
    texts = [column.name for column in sample.task.input_columns if column.type == "text"]
    parts = [("length", by_length(sample.records, texts)), *((column, by_value(sample.records, column)) for column in columns)]
    return [
        {"column": column, "values": [_values(sample, tally, name, rows) for name, rows in groups.items() if len(rows)]}
        for column, groups in parts
        if len(groups) > 1
    ]


def _values(sample: Sample, tally: NDArray[Any], name: str, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return the name, the number of records and the metrics of one group of records, whose indices are `rows`."""
    return {"name": name, "rows": len(rows), "metrics": _summary(sample, rows, tally[rows])}


def _summary(sample: Sample, rows: NDArray[np.int64], tally: NDArray[Any]) -> dict[str, Entry]:
    """Compute the metrics of one group of records, with bootstrap intervals.

    `rows` are the indices of its records; `tally` has one row of statistics for each of them.
    """
    group = Sample(sample.task, [sample.records[row] for row in rows], sample.seed)
    found = intervals(group.units(tally), sample.task.summarise, ROUNDS, sample.seed, limits)
    return {name: interval_entry(interval) for name, interval in found.items()}


def by_length(records: Sequence[Record], fields: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Divide records into thirds by the length of their texts, which are in `fields`, in characters.

    Return the indices of the records of each third; the keys are names such as `short, to 40 characters`.
    """
    lengths = np.array([sum(len(str(record.get(field) or "")) for field in fields) for record in records])
    first, second = (int(value) for value in np.quantile(lengths, [1 / 3, 2 / 3]))
    groups = {
        f"short, to {first} characters": np.flatnonzero(lengths <= first),
        f"middle, to {second}": np.flatnonzero((lengths > first) & (lengths <= second)),
        f"long, to {lengths.max()}": np.flatnonzero(lengths > second),
    }
    return {name: rows for name, rows in groups.items() if len(rows)}


def by_value(records: Sequence[Record], column: str) -> dict[str, NDArray[np.int64]]:
    """Group the records by their values in a column; return, by name of the group, the indices of its records.

    Each of the 12 most frequent values forms a group, the most frequent first. All other values form one more group.
    """
    values = np.array(["(none)" if record.get(column) is None else str(record[column]) for record in records])
    names, counts = np.unique(values, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    groups = {str(name): np.flatnonzero(values == name) for name in order[:_MOST_VALUES]}
    rest = order[_MOST_VALUES:]
    return {**groups, f"{len(rest)} other values": np.flatnonzero(np.isin(values, rest))} if len(rest) else groups


def curves(events: Sequence[Mapping[str, Any]], sign: float = 1.0, points: int = 120) -> dict[str, list[list[float]]]:
    """Return the training curves of a model, for a report, from the events that were logged during its training.

    The curves are `loss` and `metric` (on validation records), each a list of [step, value]; `loss` is reduced to at
    most `points` points. `sign` is -1 if the log contains the negated metric, because lower is better. If the model was
    trained several times, only the last training with validation counts. If that training was resumed from a
    checkpoint, the steps up to the checkpoint are included.
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
    """Reduce a curve to at most `points` points [step, value], each the mean of several adjacent points."""
    if not curve:
        return []
    return [[float(value) for value in part.mean(axis=0)] for part in np.array_split(np.array(curve, float), min(points, len(curve)))]
