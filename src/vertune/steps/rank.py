"""rank: decides which records of a labelling project come next, with a model that is fitted on the labels so far.

The states of the records are computed once and kept beside the database; a linear probe is then fitted and asked within seconds. Its
answers are what annotators see as suggestions, and its accuracy is a point of the learning curve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.artifact import Home, Progress
from vertune.core.errors import Conflict, DataError
from vertune.core.files import storage_errors
from vertune.core.kinds import Query, Task
from vertune.core.query import Beliefs, Pool
from vertune.core.records import Answer, Record
from vertune.metrics import learning_curve
from vertune.metrics.learning_curve import Point
from vertune.metrics.right_answers import right_answers
from vertune.steps.label import task_of
from vertune.steps.label.settings import ProjectSettings
from vertune.steps.record_states import FOLDER, ProjectTexts, states
from vertune.steps.simulate import first_query
from vertune.store import labels, projects
from vertune.store.database import Database, format_time
from vertune.store.projects import Project, Suggestion

if TYPE_CHECKING:
    from vertune.learning.pool import Head, StatePool

_AHEAD = 2
"""Number of batches that one ranking puts in order, so that nobody waits while the next one is computed."""
_ALL = 20_000
"""Largest number of records of which all get a suggestion; of a larger project, only those that come next."""
_FOLDS = 5
LEAST_DECIDED = 30
"""Number of decided records in the hold-out from which accuracy is measured on them, and no more by cross-validation."""
LEAST_LABELS = 10
"""Number of labelled records from which a model is fitted."""
_FURTHER = 100
"""Number of further labels whose worth is estimated."""
_LITTLE = 0.005
"""By how much further labels must be able to raise the score for them to be worth their cost."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a ranking found."""

    order: list[int]
    """The numbers of the records that come next."""
    labels: int
    """The number of labelled records that the model was fitted on; 0 if there was none."""
    found: dict[str, Any]
    """What the project keeps of it: the learning curve, and how many answers changed."""


def rank(database: Database, home: Home, project: Project, progress: Progress | None = None, given: int = 0) -> Ranking:
    """Rank the records of a project that have no label, store the order and what the model suggests, and return what was found.

    `given` is the number of labels of all annotators when the ranking was asked for. Raises ConfigError for a task whose head is not one
    linear layer, and Conflict if another job ranked the records meanwhile.
    """
    say: Progress = progress or (lambda kind, **fields: None)
    settings = ProjectSettings.model_validate(project.settings)
    table = _ProjectRecords.read(database, project)
    folder = home.folder / FOLDER / project.id
    pool = states(ProjectTexts(table.numbers, table.plain), task_of(project), settings.base, folder, say)
    say("labels", rows=len(table.targets))
    fitted = _FittedProbe.on(pool, table)
    order = _chosen(pool, table, fitted, settings, project)
    found = {**_found(project, table, fitted, settings, folder), "given": given, "records": len(table.numbers)}
    with database.reading() as connection:
        if projects.get(connection, project.name, project.customer).turn != project.turn:
            raise Conflict(
                f"The records of the project '{project.name}' were ranked by another job meanwhile. Nothing is lost; start it again."
            )
    _suggest(database, project, table, fitted, order)
    projects.set_ranks(database, project, order)
    with database.writing() as connection:
        projects.change_found(connection, project.id, found)
    return Ranking(order, 0 if fitted is None else len(fitted.rows), found)


@dataclass(frozen=True, slots=True)
class _ProjectRecords:
    """The records of a project and what people said of them; records are addressed by their place in `numbers`."""

    database: Database
    project: Project
    numbers: NDArray[np.int64]
    """In order."""
    held: NDArray[np.bool_]
    targets: Mapping[int, Mapping[str, Any]]
    """The right answers by place: those that a reviewer decided on, or the consensus of the annotators."""
    closed: NDArray[np.int64]
    """The places of records that somebody has labelled, skipped or rejected, or that are reserved."""

    @classmethod
    def read(cls, database: Database, project: Project) -> _ProjectRecords:
        with database.reading() as connection:
            listed = projects.numbers(connection, project.id)
            taken = np.array(sorted(labels.taken_records(connection, project.id)), np.int64)
        if not listed:
            raise DataError(f"The project '{project.name}' has no records. Create it again from a table with records.")
        numbers = np.array([number for number, _ in listed], np.int64)
        held = np.array([one for _, one in listed], bool)
        rule = ProjectSettings.model_validate(project.settings).consensus
        answered = right_answers(labels.each_labelled(database, project.id), task_of(project).target_columns, rule)
        targets = {int(np.searchsorted(numbers, one.record.number)): target for one, target in answered if target is not None}
        return cls(database, project, numbers, held, targets, closed=np.searchsorted(numbers, taken))

    @property
    def training(self) -> NDArray[np.int64]:
        """The places of records with a right answer that are not in the hold-out."""
        return np.array([row for row in sorted(self.targets) if not self.held[row]], np.int64)

    @property
    def decided(self) -> NDArray[np.int64]:
        """The places of records with a right answer in the hold-out."""
        return np.array([row for row in sorted(self.targets) if self.held[row]], np.int64)

    def labelled(self, rows: NDArray[np.int64]) -> list[Record]:
        """Return records with their right answers."""
        return [{**fields, **self.targets[row]} for row, fields in zip(rows.tolist(), self.plain(rows), strict=True)]

    def plain(self, rows: NDArray[np.int64]) -> list[Record]:
        """Return records without their answers."""
        wanted = self.numbers[rows].tolist()
        with self.database.reading() as connection:
            found = projects.records(connection, self.project.id, wanted)
        return [found[number].fields for number in wanted]


@dataclass(frozen=True, slots=True)
class _FittedProbe:
    """A linear probe that was fitted on the labels."""

    pool: StatePool
    task: Task
    rows: NDArray[np.int64]
    head: Head
    beliefs: Beliefs
    """What it says of all records."""
    score: float
    """The main metric, on the hold-out or by cross-validation."""
    measured: int
    """The number of records that it was measured on."""
    held_out: bool

    @classmethod
    def on(cls, pool: StatePool, table: _ProjectRecords) -> _FittedProbe | None:
        """Fit a probe; None if there are too few labels, or only one class."""
        rows = table.training
        if len(rows) < LEAST_LABELS:
            return None
        import polars as pl

        records, decided = table.labelled(rows), table.decided
        # with the labels of the hold-out, because a label that nobody has given yet outside of it must count as missed
        everything = pl.from_dicts([*records, *table.labelled(decided)], infer_schema_length=None)
        task = _unfitted(pool.task).fit(everything)
        if task.activation == "softmax" and task.size < 2:
            return None
        pool.task = task
        head, strength = pool.solved(rows, records)
        if len(decided) >= LEAST_DECIDED:
            score = _score(task, table.labelled(decided), pool.answers_of(head, decided, table.plain(decided)))
        else:
            score = _cross_validated(pool, table, rows, strength)
        held_out = len(decided) >= LEAST_DECIDED
        measured = len(decided if held_out else rows)
        return cls(pool, task, rows, head, pool.beliefs(head), score=score, measured=measured, held_out=held_out)


def _cross_validated(pool: StatePool, table: _ProjectRecords, rows: NDArray[np.int64], inverse_regularisation: float) -> float:
    """Return the main metric on labelled records, of which each is answered by a probe that was fitted on the others."""
    folds = np.random.default_rng(0).permutation(len(rows)) % _FOLDS
    answers: list[Answer] = [{} for _ in rows]
    for fold in range(_FOLDS):
        inside, outside = rows[folds != fold], rows[folds == fold]
        head, _ = pool.solved(inside, table.labelled(inside), inverse_regularisation)
        places = (folds == fold).nonzero()[0].tolist()
        for place, answer in zip(places, pool.answers_of(head, outside, table.plain(outside)), strict=True):
            answers[place] = answer
    return _score(pool.task, table.labelled(rows), answers)


def _score(task: Task, records: Sequence[Record], answers: Sequence[Answer]) -> float:
    return task.score(records, answers)[task.goal]


def _unfitted(task: Task) -> Task:
    """Return a task whose labels are those of its training rows, because a class without any can't be learnt."""
    return task.model_copy(update={"labels": type(task).model_fields["labels"].default}) if "labels" in type(task).model_fields else task


def _chosen(
    pool: StatePool, table: _ProjectRecords, fitted: _FittedProbe | None, settings: ProjectSettings, project: Project
) -> list[int]:  # fmt: skip
    """Return the numbers of the records that the project's query chooses next."""
    query: Query = settings.chooser
    labelled = np.zeros(len(table.numbers), bool)
    labelled[table.training] = True
    closed = labelled | table.held
    closed[table.closed] = True
    beliefs = None if fitted is None else fitted.beliefs
    chooser = first_query() if beliefs is None and query.needs_beliefs else query
    picked = chooser.pick(Pool(pool.vectors(), labelled, closed, beliefs, project.turn), _AHEAD * settings.batch)
    return [int(number) for number in table.numbers[picked]]


def _suggest(database: Database, project: Project, table: _ProjectRecords, fitted: _FittedProbe | None, order: Sequence[int]) -> None:
    """Store what the model says of the records that come next, and of all others if they are not too many."""
    if fitted is None:
        return
    count = len(table.numbers)
    rows = np.arange(count) if count <= _ALL else np.searchsorted(table.numbers, np.array(order, np.int64))
    records = table.plain(rows)
    answers = fitted.pool.answers_of(fitted.head, rows, records)
    suggestions = (
        Suggestion(number, labels.as_text(fitted.task.as_target(answer, record)), fitted.task.confidence(answer))
        for number, answer, record in zip(table.numbers[rows].tolist(), answers, records, strict=True)
    )
    projects.set_suggestions(database, project.id, suggestions)


def _found(
    project: Project, table: _ProjectRecords, fitted: _FittedProbe | None, settings: ProjectSettings, folder: Path
) -> dict[str, Any]:  # fmt: skip
    """Return what the project keeps: the learning curve, what it promises, and whether further labels are worth their cost."""
    found = {"at": format_time(datetime.now(UTC)), "labels": len(table.training)}
    if fitted is None:
        return found
    measured = Point.of_share(len(fitted.rows), fitted.score, fitted.measured)
    low, high = measured.interval
    point = {
        "labels": len(fitted.rows), "score": round(fitted.score, 6), "low": round(max(0.0, low), 6), "high": round(min(1.0, high), 6),
        "error": measured.error, "measured": fitted.measured, "held_out": fitted.held_out, "metric": fitted.task.goal,
        **_changes_since_last(fitted, folder),
    }  # fmt: skip
    curve = [*(one for one in project.found.get("curve", []) if one["labels"] < point["labels"]), point]
    return {**found, "curve": curve, **_outlook(curve, fitted.task, settings)}


def _outlook(points: Sequence[Mapping[str, Any]], task: Task, settings: ProjectSettings) -> dict[str, Any]:
    """Return what further labels promise; of an error, whose limit is not known, nothing is said."""
    same = [one for one in points if one["held_out"] == points[-1]["held_out"] and one["metric"] == points[-1]["metric"]]
    curve = None
    if task.goal not in task.lower_is_better:
        curve = learning_curve.fit([Point(one["labels"], one["score"], one["error"]) for one in same], classes=task.size)
    if curve is None:
        return {"needed": None, "worth": None, "advice": None}
    needed, gain = curve.needed(settings.target), curve.gain(_FURTHER)
    kappas = [one["kappa"] for one in points if one["kappa"] is not None]
    stable = learning_curve.is_stable(kappas)
    return {
        "needed": None if needed is None else asdict(needed), "worth": {"labels": _FURTHER, **asdict(gain)},
        "advice": "stable" if stable else "little" if gain.high < _LITTLE else "go on",
    }  # fmt: skip


def _changes_since_last(fitted: _FittedProbe, folder: Path) -> dict[str, float | None]:
    """Return how much the most likely labels of all records changed since the last ranking; None at the first one."""
    names = fitted.task.output_names
    if not names:
        return {"changed": None, "kappa": None}
    marks = np.array([int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") for name in names], np.uint32)
    now = marks[fitted.beliefs.probabilities.argmax(1)]
    file = folder / "last.npy"
    before = np.load(file, allow_pickle=False) if file.exists() else None
    with storage_errors(file):
        np.save(file, now, allow_pickle=False)
    if before is None or len(before) != len(now):
        return {"changed": None, "kappa": None}
    found = learning_curve.stability(before.tolist(), now.tolist())
    return {"changed": found.changed, "kappa": found.kappa}
