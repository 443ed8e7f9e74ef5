"""Scores single rows, so that two models can be compared row by row, in groups of rows and by label; for any task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.content import groups
from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.metrics.bootstrap import merged
from vertune.reports.words import metric

_ROUNDING = 1e-9
_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class RowScores:
    """The score of a model on each row."""

    metric: str
    """The metric of a single row."""
    values: NDArray[np.float64]
    """One value per row, or per query in a ranking; greater is better, so an error is negative."""
    best: float
    """The value of a row that is answered as expected."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each row was answered as expected."""
        return self.values >= self.best - _ROUNDING


def row_metric(task: Task, records: Sequence[Record], answers: Sequence[Answer]) -> str:
    """Return the name of the metric by which single rows are scored.

    It is the first metric of which the value for many rows is the mean of the values of the rows, such as the accuracy, which is tried on
    random samples of the rows. The main metric of the task comes first. Without such a metric, it is the first one of the task, such as the
    F1 of the spans of a row.
    """
    tally = np.asarray(task.tally(records, answers), np.float64)
    weights = np.random.default_rng(0).integers(0, 4, (_SAMPLES, len(tally)))
    weights[:, :1] += 1  # so that none is empty
    totals, each = task.summarise(weights @ tally), task.summarise(tally)
    names = [name for name in dict.fromkeys([task.goal, *task.metrics]) if name in totals]
    shares = weights / weights.sum(axis=1, keepdims=True)
    means = (name for name in names if np.allclose(shares @ each[name], totals[name], rtol=0, atol=1e-9))
    return next(means, task.metrics[0])


def row_scores(task: Task, records: Sequence[Record], answers: Sequence[Answer], name: str) -> RowScores:
    """Score answers to labelled records by the metric `name`. Nothing that is expected and nothing that is answered is right."""
    tally = task.tally(records, answers)
    values = np.array(task.summarise(tally)[name], np.float64).reshape(-1)
    if len(values) == len(records) and metric(name).unit == "share":
        empty = [not task.named(answer) and not target_labels(task, record) for record, answer in zip(records, answers, strict=True)]
        values = np.where(np.array(empty) & (task.names_labels and answers_with_lists(task)), 1.0, values)
    return RowScores(name, -values, 0.0) if name in task.lower_is_better else RowScores(name, values, 1.0)


def answers_with_lists(task: Task) -> bool:
    """Return whether an answer may contain any number of labels, none included."""
    return any(column.type in ("labels", "spans") for column in task.target_columns)


def target_labels(task: Task, record: Record) -> tuple[str, ...]:
    """Return the labels that a record must be answered with; empty if the task has no labels, or the record has none."""
    found: list[str] = []
    for column in task.target_columns:
        value = record.get(column.name)
        if value is None:
            continue
        if column.type == "label":
            found.append(str(value))
        elif column.type == "labels":
            found += map(str, value)
        elif column.type == "spans":
            found += (str(span["label"]) for span in value)
    return tuple(found)


def knowing(task: Task, labels: Iterable[str]) -> Task:
    """Return a copy of a task that scores answers with these labels too, which other models know; its head has no outputs for them."""
    known = task.known_labels
    further = [label for label in dict.fromkeys(labels) if label not in known]
    if not further or "labels" not in type(task).model_fields:
        return task
    kind = type(getattr(task, "labels"))  # noqa: B009 - a field of the tasks that have labels, which the base class does not declare
    return task.model_copy(update={"labels": kind([*known, *further])})


def by_label(task: Task, records: Sequence[Record]) -> dict[str, NDArray[np.int64]]:
    """Return, for each label, the indices of the records that must be answered with it."""
    found: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        for label in dict.fromkeys(target_labels(task, record)):
            found.setdefault(label, []).append(row)
    return {label: np.array(rows, np.int64) for label, rows in sorted(found.items())}


def same_inputs(task: Task, records: Sequence[Record]) -> NDArray[np.int64]:
    """Return the number of the unit of each record: records with equal inputs are one, because they get equal answers."""
    return groups(records, [column.name for column in task.input_columns])


def unit_means(values: NDArray[np.float64], members: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of the values of each unit; `members` contains the number of the unit of each value."""
    _, members = np.unique(members, return_inverse=True)
    sums = merged(values[:, None], members)[:, 0]
    counts: NDArray[np.float64] = np.bincount(members).astype(np.float64)
    return sums / counts if len(values) else sums


def disagreements(task: Task, one: Sequence[Answer], other: Sequence[Answer]) -> NDArray[np.int64]:
    """Return the indices of the records that two models answer differently."""
    return np.array([row for row, pair in enumerate(zip(one, other, strict=True)) if not task.agrees(*pair)], np.int64)


def text_of(task: Task, record: Record) -> str:
    """Return what a record asks, for a list that people read: the values of its input fields, joined by ` | `."""
    values: list[Any] = [record.get(column.name) for column in task.input_columns]
    return " | ".join(str(value) for value in values if value is not None)


def answer_text(task: Task, answer: Answer, record: Record) -> str:
    """Return an answer in a few words, for a list that people read: its labels, or else the values of the target fields."""
    if task.answers_with_places:
        spans = [span for value in task.as_target(answer, record).values() for span in value]
        text = str(record.get(task.marked_input) or "")
        return ", ".join(_span_text(span, text) for span in spans) or "nothing"
    if task.names_labels:
        return ", ".join(task.named(answer)) or "nothing"
    values = task.as_target(answer, record).values()
    return ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values) or "another answer"


def _span_text(span: Mapping[str, Any], text: str) -> str:
    """Return the words that a span or an accepted answer marks, with the label if it has one."""
    words = span["text"] if "text" in span else text[span["start"] : span["end"]]
    return f"{words} ({span['label']})" if "label" in span else str(words)
