"""label: makes a labelling project of a table: its records, each once, a random hold-out, and the labels that are there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from vertune.core.artifact import Progress, check_name
from vertune.core.errors import Conflict, NotFound
from vertune.core.ids import time_ordered_id
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.core.records import Note
from vertune.data.chain import ChainLog
from vertune.data.validate import check_labels, checked_target
from vertune.steps.init.tables import as_config
from vertune.steps.label.settings import LabelHelp, ProjectSettings, check_labelled, needs_labels
from vertune.steps.label.table import Table
from vertune.store import labels, projects
from vertune.store.audit import note
from vertune.store.database import Database, format_time
from vertune.store.projects import Project
from vertune.store.traffic import fingerprint, fingerprint_key

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
    check_labelled(new.task)
    _remove_unfinished(database, new)
    say("read", source=new.source.name)
    log = ChainLog(say)
    table = Table.read(new.source, new.fields, new.task, log)
    settings = with_labels(new.settings, table)
    settings.check(new.task)
    project = Project(
        id=time_ordered_id(), at=format_time(datetime.now(UTC)), customer=new.customer, name=new.name, upload=new.upload,
        task=as_config(new.task),
        settings=settings.model_dump(mode="json"), state="filling", found={"notes": [one.as_json() for one in log.notes]},
    )  # fmt: skip
    projects.add(database, project)
    rows = _rows(table, settings, fingerprint_key(database))
    projects.add_records(database, project, rows, lambda count: say("storing", step=count, steps=len(table)))
    import_labels(database, project, table.targets)
    with database.writing() as connection:
        note(connection, new.actor, "create", f"project {project.id}", {"records": len(table), "labelled": len(table.targets)})
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


def with_labels(settings: ProjectSettings, table: Table) -> ProjectSettings:
    """Return the settings with the labels that a table contains, after those that were named, the most frequent first."""
    there = {one.name for one in settings.labels}
    new = [LabelHelp(name=name) for name in table.labels() if name not in there] if needs_labels(table.task) else []
    return settings.model_copy(update={"labels": [*settings.labels, *new]}) if new else settings


def import_labels(database: Database, project: Project, targets: Mapping[int, Mapping[str, Any]]) -> None:
    """Store answers of a table as labels, by the numbers of their records."""
    now = datetime.now(UTC)
    for part in projects.in_parts(targets.items(), 2000):
        changes = [labels.Change(number, "done", target, None, 1) for number, target in part]
        labels.save(database, project, FROM_FILE, changes, now)


def _rows(table: Table, settings: ProjectSettings, key: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of the records: those without an answer in a random order, of which the first ones are held out."""
    free = np.array([place for place in range(len(table)) if place not in table.targets], np.int64)
    order = np.random.default_rng(0).permutation(free)
    held = round(settings.hold_out * len(free))
    held = 0 if held < LEAST_HELD and len(free) < 2 * LEAST_HELD else max(held, LEAST_HELD if settings.hold_out else 0)
    rank = {int(place): turn for turn, place in enumerate(order)}
    for place, record in enumerate(table.records()):
        yield {
            "number": place, "record": orjson.dumps(record, default=str).decode(), "fingerprint": fingerprint(record, key),
            "held": int(rank.get(place, held) < held), "places": settings.overlap, "rank": rank.get(place, len(table) + place),
            "suggestion": None, "confidence": None,
        }  # fmt: skip
