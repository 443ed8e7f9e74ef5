"""What comparing the labels of several annotators says: their agreement, and how often each is right; does not depend on HTTP.

Comparing ten thousand records takes a second, so what was found is kept for as long as no label and no decision of the project changes.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache
from sqlalchemy import Connection

from vertune.core.kinds import Task
from vertune.metrics.agreement import agreement
from vertune.metrics.consensus import accuracies
from vertune.steps.label import FROM_FILE, task_of
from vertune.store import labels
from vertune.store.database import Database
from vertune.store.labels import LabelledRecord, Revision
from vertune.store.projects import Project

_COMPARED = 10_000
"""Largest number of records on which the agreement of annotators is measured: those that were labelled by several last."""
_KEPT = 200
"""Number of results that are kept, those that were asked for last."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """The comparisons of all projects of a server; safe for use from several threads, which at worst compare the same twice."""

    _kept: MutableMapping[tuple[str, str], tuple[Revision, Any]] = field(default_factory=lambda: LRUCache(_KEPT))

    def agreement(self, database: Database, project: Project) -> dict[str, Any] | None:
        """Return how much annotators say the same, with its interval; None if no record has labels of several."""
        found: dict[str, Any] | None = self._of(database, project, _agreement)
        return found

    def quality(self, database: Database, project: Project) -> list[dict[str, Any]]:
        """Return how often each annotator is right, by the model of Dawid and Skene; decisions of reviewers count as the truth."""
        found: list[dict[str, Any]] = self._of(database, project, _quality)
        return found

    def _of(self, database: Database, project: Project, compare: Callable[[Connection, Project], Any]) -> Any:
        key = project.id, compare.__name__
        with database.reading() as connection:
            revision = labels.revision(connection, project.id)
            kept = self._kept.get(key)
            if kept is not None and kept[0] == revision:
                return kept[1]
            found = compare(connection, project)
        self._kept[key] = revision, found
        return found


def several(connection: Connection, project: Project) -> list[LabelledRecord]:
    """Return the records that several annotators labelled last, or that a reviewer decided on after an annotator."""
    return labels.read(connection, project.id, labels.shared_records(connection, project.id, _COMPARED))


def _agreement(connection: Connection, project: Project) -> dict[str, Any] | None:
    task: Task = task_of(project)
    (column, *_) = task.target_columns
    judgements = [row for row in _judgements(several(connection, project), column.name) if len(row) > 1]
    if not judgements:
        return None
    found = agreement(judgements, column.type)  # type: ignore[arg-type]  # a target has a type of targets
    if not found.is_defined:
        return None
    return {"measure": found.measure, "value": found.value, "low": found.low, "high": found.high, "records": found.records}


def _quality(connection: Connection, project: Project) -> list[dict[str, Any]]:
    records, counted = several(connection, project), labels.counts(connection, project.id)
    (column, *_) = task_of(project).target_columns
    votes = _judgements(records, column.name)
    known = {place: one.decision.target.get(column.name) for place, one in enumerate(records) if one.decision is not None}
    found = accuracies(votes, column.type, known) if votes else {}  # type: ignore[arg-type]  # a target has a type of targets
    return [
        {"name": name, "labels": states.get("done", 0), "accuracy": found.get(name)}
        for name, states in sorted(counted.items())
        if name != FROM_FILE
    ]


def _judgements(records: Sequence[LabelledRecord], field: str) -> list[dict[str, Any]]:
    return [
        {label.annotator: label.target[field] for label in one.labels if label.state == "done" and label.target and field in label.target}
        for one in records
    ]
