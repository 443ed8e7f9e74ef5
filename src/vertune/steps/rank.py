"""rank: decides which records of a labelling project come next, with a model that is fitted on the labels so far.

The states of the records are computed once and kept beside the database; a linear probe is then fitted and asked within seconds. Its
answers are what annotators see as suggestions, and its accuracy is a point of the learning curve.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.artifact import Home, Progress
from vertune.core.errors import Conflict, DataError, NotFound
from vertune.core.files import storage_errors, write_json
from vertune.core.kinds import Encoder, Query, Task
from vertune.core.parse import build
from vertune.core.query import Beliefs, Pool
from vertune.core.records import Answer, Record
from vertune.metrics import learning_curve
from vertune.metrics.learning_curve import Point
from vertune.steps.label import task_of
from vertune.steps.label.settings import ProjectSettings
from vertune.steps.simulate import first_query
from vertune.store import labels, projects
from vertune.store.database import Database, format_time
from vertune.store.projects import Project

if TYPE_CHECKING:
    from vertune.learning.pool import Head, StatePool

FOLDER = "pools"
"""Name of the folder in the home folder that holds the states of projects."""
_AHEAD = 2
"""Number of batches that one ranking puts in order, so that nobody waits while the next one is computed."""
_ALL = 20_000
"""Largest number of records of which all get a suggestion; of a larger project, only those that come next."""
_FOLDS = 5
LEAST_DECIDED = 30
"""Number of decided records in the hold-out from which accuracy is measured on them, and no more by cross-validation."""
LEAST_LABELS = 10
"""Number of labelled records from which a model is fitted."""
_NUMBERS, _VECTORS = "numbers.npy", "vectors.npy"
"""Files with the numbers of the records, in order, and a vector of length 1 for each of them."""
_ROWS = 1 << 16
"""Number of vectors that are compared at once."""
_FURTHER = 100
"""Number of further labels whose worth is estimated."""
_LITTLE = 0.005
"""By how much further labels must be able to raise the score for them to be worth their cost."""
_TEXTS = 2000
"""Number of records whose texts decide about the language."""


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
    table = _Table.read(database, project)
    folder = home.folder / FOLDER / project.id
    pool = _states(table, task_of(project), settings.base, folder, say)
    say("labels", rows=len(table.targets))
    fitted = _Fitted.on(pool, table)
    order = _chosen(pool, table, fitted, settings, project)
    found = {**_found(project, table, fitted, settings, folder), "given": given}
    with database.reading() as connection:
        if projects.get(connection, project.name, project.customer).turn != project.turn:
            raise Conflict(
                f"The records of the project '{project.name}' were ranked by another job meanwhile. Nothing is lost; start it again."
            )
    _suggest(database, project, table, fitted, order)
    projects.set_ranks(database, project, order)
    with database.writing() as connection:
        projects.change(connection, project.id, found=found)
    return Ranking(order, 0 if fitted is None else len(fitted.rows), found)


@dataclass(frozen=True, slots=True)
class _Table:
    """The records of a project and what people said of them; records are addressed by their place in `numbers`."""

    database: Database
    project: Project
    numbers: NDArray[np.int64]
    """In order."""
    held: NDArray[np.bool_]
    targets: Mapping[int, Mapping[str, Any]]
    """The right answers by place: those that a reviewer decided on, or that most annotators agree on."""
    closed: NDArray[np.int64]
    """The places of records that somebody has labelled, skipped or rejected, or that are reserved."""

    @classmethod
    def read(cls, database: Database, project: Project) -> _Table:
        with database.reading() as connection:
            listed = projects.numbers(connection, project.id)
            taken = np.array(sorted(labels.taken_records(connection, project.id)), np.int64)
        if not listed:
            raise DataError(f"The project '{project.name}' has no records. Create it again from a table with records.")
        numbers = np.array([number for number, _ in listed], np.int64)
        held = np.array([one for _, one in listed], bool)
        targets = {
            int(np.searchsorted(numbers, one.record.number)): one.final
            for one in labels.each_labelled(database, project.id)
            if one.final is not None
        }
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
class _Fitted:
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
    def on(cls, pool: StatePool, table: _Table) -> _Fitted | None:
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


def remove_states(home: Path, project: str) -> None:
    """Delete the states of a project's records; the next ranking computes those of the records that are left."""
    folder = home / FOLDER / project
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)


def neighbours(home: Path, project: Project, number: int, least: float) -> list[tuple[int, float]]:
    """Return the numbers of records whose states are similar to that of a record, with their similarity, the most similar first.

    Raises Conflict if the states have not been computed yet, and NotFound if the record is not among them.
    """
    folder = home / FOLDER / project.id
    if not (folder / _NUMBERS).exists():
        raise Conflict(
            f"The records of '{project.name}' have not been compared with each other yet. Rank them first, and wait for the job."
        )
    numbers, vectors = (np.load(folder / name, "r", allow_pickle=False) for name in (_NUMBERS, _VECTORS))
    place = int(np.searchsorted(numbers, number))
    if place == len(numbers) or numbers[place] != number:
        raise NotFound(f"There is no record {number} in this project. It may have been deleted; choose another one.")
    query = vectors[place].astype(np.float32)
    shares = np.concatenate([vectors[start : start + _ROWS].astype(np.float32) @ query for start in range(0, len(vectors), _ROWS)])
    near = (shares >= least).nonzero()[0]
    near = near[np.argsort(-shares[near], kind="stable")]
    return [(int(numbers[row]), min(1.0, float(shares[row]))) for row in near if row != place]


def _cross_validated(pool: StatePool, table: _Table, rows: NDArray[np.int64], inverse_regularisation: float) -> float:
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
    pool: StatePool, table: _Table, fitted: _Fitted | None, settings: ProjectSettings, project: Project
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


def _suggest(database: Database, project: Project, table: _Table, fitted: _Fitted | None, order: Sequence[int]) -> None:
    """Store what the model says of the records that come next, and of all others if they are not too many."""
    if fitted is None:
        return
    count = len(table.numbers)
    rows = np.arange(count) if count <= _ALL else np.searchsorted(table.numbers, np.array(order, np.int64))
    records = table.plain(rows)
    answers = fitted.pool.answers_of(fitted.head, rows, records)
    said = [labels.as_text(fitted.task.as_target(answer, record)) for answer, record in zip(answers, records, strict=True)]
    sure = [fitted.task.confidence(answer) for answer in answers]
    suggestions = zip(table.numbers[rows].tolist(), said, sure, strict=True)
    projects.set_suggestions(database, project.id, ({"of": number, "says": target, "sure": share} for number, target, share in suggestions))


def _found(project: Project, table: _Table, fitted: _Fitted | None, settings: ProjectSettings, folder: Path) -> dict[str, Any]:
    """Return what the project keeps: the learning curve, what it promises, and whether further labels are worth their cost."""
    found = {**project.found, "at": format_time(datetime.now(UTC)), "labels": len(table.training)}
    if fitted is None:
        return found
    error = Point.of_share(len(fitted.rows), fitted.score, fitted.measured).error
    reach = 1.96 * error
    point = {
        "labels": len(fitted.rows), "score": round(fitted.score, 6), "low": round(max(0.0, fitted.score - reach), 6),
        "high": round(min(1.0, fitted.score + reach), 6), "error": error, "measured": fitted.measured, "held_out": fitted.held_out,
        "metric": fitted.task.goal, **_stability(fitted, folder),
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


def _stability(fitted: _Fitted, folder: Path) -> dict[str, float | None]:
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


def _states(table: _Table, task: Task, base: str, folder: Path, progress: Progress) -> StatePool:
    """Return the records with their states, which are computed only if the records or the base are new."""
    from vertune.learning.pool import StatePool

    about = folder / "about.json"
    key = hashlib.sha256(table.numbers.tobytes() + f"{task.name} {base}".encode()).hexdigest()
    if about.exists():
        known = json.loads(about.read_text("utf-8"))
        encoder: Encoder = build(Encoder, known["encoder"])
        if known["key"] == key and known["base"] == encoder.fingerprint():
            return StatePool.open(task, folder)
    records = table.plain(np.arange(len(table.numbers)))
    columns = [name for name in records[0] if any(one.get(name) is not None for one in records[:_TEXTS])]
    views = task.views(columns)
    texts = [str(value) for one in records[:: max(1, len(records) // _TEXTS)] for value in one.values() if isinstance(value, str)]
    encoder = build(Encoder, {"name": "text", "base": base}).choose_base(texts, views)
    encoder = encoder.resolve(records[:_TEXTS], views)
    made = StatePool.of(task, encoder, records, columns, lambda done: progress("states", step=done, steps=len(records)))
    _store(made, table.numbers, folder, {"key": key, "encoder": encoder.model_dump(mode="json"), "base": encoder.fingerprint()})
    return StatePool.open(task, folder)


def _store(pool: StatePool, numbers: NDArray[np.int64], folder: Path, about: dict[str, Any]) -> None:
    """Write states beside their place, and put them there when all are written."""
    with storage_errors(folder):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        try:
            pool.save(beside)
            np.save(beside / _NUMBERS, numbers, allow_pickle=False)
            np.save(beside / _VECTORS, pool.vectors().astype(np.float16), allow_pickle=False)
            write_json(beside / "about.json", about)
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
