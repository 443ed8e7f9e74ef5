"""label: makes a labelling project of a table: its records, each once, a random hold-out, and the labels that are there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from vertune.core.artifact import Progress, check_name
from vertune.core.columns import named, only, without
from vertune.core.errors import Conflict, DataError, NotFound
from vertune.core.ids import time_ordered_id
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.core.records import Note
from vertune.data.chain import ChainLog
from vertune.data.fields import map_fields
from vertune.data.validate import check_labels, checked_target, labels_in
from vertune.steps.init.tables import as_config
from vertune.steps.label.settings import LabelHelp, ProjectSettings, needs_labels
from vertune.store import labels, projects
from vertune.store.audit import note
from vertune.store.database import Database, format_time
from vertune.store.projects import Project
from vertune.store.traffic import fingerprint, fingerprint_key

if TYPE_CHECKING:
    import polars as pl

FROM_FILE = "file"
"""The annotator of labels that the table contained."""
LEAST_HELD = 20
"""Smallest number of records in a hold-out; with fewer, nothing can be measured."""


@dataclass(frozen=True, slots=True)
class NewProject:
    """What a project is made of."""

    name: str
    customer: str
    source: Source
    task: Task
    fields: Mapping[str, str | list[str]] = field(default_factory=dict)
    settings: ProjectSettings = field(default_factory=ProjectSettings)
    upload: str = ""
    """The id of the uploaded file that the source reads."""
    actor: str = "command line"


@dataclass(frozen=True, slots=True)
class Created:
    """A new project, and what was left out of it."""

    project: Project
    notes: list[Note]


def label(database: Database, new: NewProject, progress: Progress | None = None) -> Created:
    """Make a project of the records of a table.

    Rows with an answer, where the table has a column for it, are labelled already; they are not in the hold-out. Raises Conflict if the
    customer has a project of this name, DataError if no row can be used, and ConfigError if there are no labels to choose from.
    """
    say: Progress = progress or (lambda kind, **fields: None)
    check_name(new.name)
    _remove_unfinished(database, new)
    say("read", source=new.source.name)
    log = ChainLog(say)
    frame = _usable(new, log)
    targets = _targets(frame, new.task, log)
    settings = _with_labels(new.settings, new.task, frame, targets)
    settings.check(new.task)
    project = Project(
        id=time_ordered_id(), at=format_time(datetime.now(UTC)), customer=new.customer, name=new.name, upload=new.upload,
        task=as_config(new.task),
        settings=settings.model_dump(mode="json"), state="filling", found={"notes": [one.as_json() for one in log.notes]},
    )  # fmt: skip
    projects.add(database, project)
    rows = _rows(frame, targets, new.task, settings, fingerprint_key(database))
    projects.add_records(database, project, rows, lambda count: say("storing", step=count, steps=frame.height))
    _import(database, project, targets)
    with database.writing() as connection:
        note(connection, new.actor, "create", f"project {project.id}", {"records": frame.height, "labelled": len(targets)})
    with database.reading() as connection:
        return Created(projects.get(connection, new.name, new.customer), log.notes)


def task_of(project: Project) -> Task:
    """Return the task of a project; it knows the labels of the settings."""
    names = [one["name"] for one in project.settings.get("labels", [])]
    task: Task = build(Task, project.task)
    return build(Task, {**project.task, "labels": names}) if names and needs_labels(task) else task


def checked_label(task: Task, target: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a right answer of a record as the task's rules write it.

    Raises DataError if the task does not accept it, and UnknownName for a label that the project does not have.
    """
    found = checked_target(task, fields, target)
    if needs_labels(task):
        check_labels(task, found)
    return found


def _remove_unfinished(database: Database, new: NewProject) -> None:
    """Delete a project of this name whose making was interrupted; raise Conflict if there is a complete one."""
    with database.reading() as connection:
        try:
            old = projects.get(connection, new.name, new.customer)
        except NotFound:
            return
    if old.state != "filling":
        raise Conflict(f"There is a project '{new.name}' already. Choose another name, or delete that project.")
    projects.remove(database, old.id)


def _usable(new: NewProject, log: ChainLog) -> pl.DataFrame:
    """Return the rows whose inputs the task can read, each once, with all columns of the task that the table has."""
    import polars as pl

    task = new.task
    frame = map_fields(new.source.read(), new.fields, task, targets=False).frame.with_row_index("__place")
    log.read = frame.height
    unread = frame.filter(pl.col("__error").is_not_null())
    log.reject(
        "read",
        [{"file": row["__file"], "row": row["__row"], "reason": row["__error"], "values": {}} for row in unread.iter_rows(named=True)],
        log.read,
    )
    frame = frame.filter(pl.col("__error").is_null()).drop("__error")
    given = _given(frame, task)
    usable = log.take(task.clean(without(frame, given)), task.name, frame.height)
    usable = usable.join(only(frame, ["__place", *given]), on="__place", maintain_order="left")
    if given:  # of equal records, one with an answer stays
        usable = usable.sort(pl.any_horizontal(named(name).is_null() for name in given), "__place")
    distinct = usable.unique(subset=_inputs(usable, task), keep="first", maintain_order=True).sort("__place").drop("__place")
    if distinct.height < usable.height:
        log.note(Note("duplicates", "rows are equal to another one and were left out", usable.height - distinct.height, log.read))
    if distinct.is_empty():
        raise DataError("No row of the table can be labelled. Check which column contains the text, and name it: `fields: {text: COLUMN}`.")
    return distinct.with_row_index("__place")


def _targets(frame: pl.DataFrame, task: Task, log: ChainLog) -> dict[int, dict[str, Any]]:
    """Return the answers that the table contains and the task accepts, by the places of their rows in the frame."""
    import polars as pl

    given = _given(frame, task)
    if not given:
        return {}
    blank = [named(name) == "" for name in given if frame[name].dtype == pl.String]
    answered = frame.filter(pl.all_horizontal(named(name).is_not_null() for name in given) & ~pl.any_horizontal(pl.lit(False), *blank))
    if answered.is_empty():
        return {}
    cleaned = log.take(task.resolve(answered).clean(answered), "answers in the table", answered.height)
    return {row["__place"]: {name: row[name] for name in given} for row in cleaned.iter_rows(named=True)}


def _given(frame: pl.DataFrame, task: Task) -> list[str]:
    """Return the names of the target fields that the table has."""
    return [column.name for column in task.target_columns if column.name in frame.columns]


def _inputs(frame: pl.DataFrame, task: Task) -> list[str]:
    """Return the names of the other fields of the task that the table has."""
    return [column.name for column in task.columns if column.role != "target" and column.name in frame.columns]


def _with_labels(settings: ProjectSettings, task: Task, frame: pl.DataFrame, targets: Mapping[int, Mapping[str, Any]]) -> ProjectSettings:
    """Return the settings with the labels that the table contains, after those that were named, the most frequent first."""
    if not needs_labels(task):
        return settings
    counts = Counter(label for target in targets.values() for label in labels_in(task, target))
    there = {one.name for one in settings.labels}
    new = [LabelHelp(name=name) for name, _ in counts.most_common() if name not in there]
    return settings.model_copy(update={"labels": [*settings.labels, *new]}) if new else settings


def _rows(
    frame: pl.DataFrame, targets: Mapping[int, Any], task: Task, settings: ProjectSettings, key: bytes
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield the rows of the records: those without an answer in a random order, of which the first ones are held out."""
    free = np.array([place for place in range(frame.height) if place not in targets], np.int64)
    order = np.random.default_rng(0).permutation(free)
    held = round(settings.hold_out * len(free))
    held = 0 if held < LEAST_HELD and len(free) < 2 * LEAST_HELD else max(held, LEAST_HELD if settings.hold_out else 0)
    rank = {int(place): turn for turn, place in enumerate(order)}
    for place, record in enumerate(only(frame, _inputs(frame, task)).iter_rows(named=True)):
        yield {
            "number": place, "record": orjson.dumps(record, default=str).decode(), "fingerprint": fingerprint(record, key),
            "held": int(rank.get(place, held) < held), "places": settings.overlap, "rank": rank.get(place, frame.height + place),
            "suggestion": None, "confidence": None,
        }  # fmt: skip


def _import(database: Database, project: Project, targets: Mapping[int, Mapping[str, Any]]) -> None:
    """Store the answers of the table as labels."""
    now = datetime.now(UTC)
    for part in projects.in_parts(targets.items(), 2000):
        changes = [labels.Change(number, "done", target, None, 1) for number, target in part]
        labels.save(database, project, FROM_FILE, changes, now)
