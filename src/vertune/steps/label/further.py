"""Adds the records of a further table to a labelling project; those that it has already are counted and named, not doubled.

An import that was interrupted is repeated: each group of records is stored with the counts of the project, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from vertune.core.artifact import Progress
from vertune.core.errors import Conflict
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.core.records import MAX_EXAMPLES, Note
from vertune.data.chain import ChainLog
from vertune.steps.label import import_labels, with_labels
from vertune.steps.label.settings import ProjectSettings
from vertune.steps.label.table import Table
from vertune.store import labels, projects
from vertune.store.audit import note
from vertune.store.database import Database
from vertune.store.projects import Project
from vertune.store.traffic import fingerprint, fingerprint_key


@dataclass(frozen=True, slots=True)
class Further:
    """What is added to which project."""

    project: Project
    source: Source
    fields: Mapping[str, str | list[str]] = field(default_factory=dict)
    upload: str = ""
    """The id of the uploaded file that the source reads."""
    actor: str = "command line"


@dataclass(frozen=True, slots=True)
class Added:
    """What became of the records of a further table."""

    project: Project
    added: int
    known: int
    """The number of records that the project had already."""
    labelled: int
    """The number of records that got the answer that the table contains."""
    notes: list[Note]


def add_records(database: Database, further: Further, progress: Progress | None = None) -> Added:
    """Add the records of a table to a project: each once, and a random part of those without an answer to the hold-out.

    A record that the project has already is not added again; it gets the answer of the table if nobody has labelled or reserved it, and if
    it is not held out. Raises Conflict if the project is closed, and DataError if no row can be used.
    """
    say: Progress = progress or (lambda kind, **fields: None)
    project = further.project
    if project.state != "open":
        raise Conflict(f"The project '{project.name}' is {project.state}, so it takes no records. Open it in its settings first.")
    say("read", source=further.source.name)
    log = ChainLog(say)
    task: Task = build(Task, project.task)  # without the labels of the settings, to which those of the table are added
    table = Table.read(further.source, further.fields, task, log)
    settings = _extended(database, project, table, log)
    rows = _rows(table, settings, project, fingerprint_key(database))
    stored = projects.add_further(database, project, rows, lambda count: say("storing", step=count, steps=len(table)))
    known = [place for place, (_, new) in enumerate(stored) if not new]
    if known:
        examples = tuple({**table.origin(place), "value": f"record {stored[place][0]}"} for place in known[:MAX_EXAMPLES])
        log.note(Note("records", "are in the project already and were not added again", len(known), len(table), examples))
    labelled = _import(database, project, table, stored, log)
    added = len(stored) - len(known)
    with database.writing() as connection:
        noted = [*project.found.get("notes", []), *(one.as_json() for one in log.notes)]
        projects.change_found(connection, project.id, {"notes": noted})
        details = {"records": added, "known": len(known), "labelled": labelled, "upload": further.upload}
        note(connection, further.actor, "add", f"records of project {project.id}", details)
    with database.reading() as connection:
        return Added(projects.get(connection, project.name, project.customer), added, len(known), labelled=labelled, notes=log.notes)


def _extended(database: Database, project: Project, table: Table, log: ChainLog) -> ProjectSettings:
    """Return the settings, and store them with the labels that only the table contains."""
    settings = ProjectSettings.model_validate(project.settings)
    extended = with_labels(settings, table)
    new = [one.name for one in extended.labels[len(settings.labels) :]]
    if new:
        log.note(Note("labels", f"are new in the project: {', '.join(new[:MAX_EXAMPLES])}", len(new), len(extended.labels)))
        with database.writing() as connection:
            projects.change(connection, project.id, settings=extended.model_dump(mode="json"))
    return extended


def _rows(table: Table, settings: ProjectSettings, project: Project, key: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of the records. Their keyed fingerprints decide at random, but the same at a repetition, which are held out."""
    total = project.records + len(table)
    for place, record in enumerate(table.records()):
        mark = fingerprint(record, key)
        first, second = (int.from_bytes(mark[start : start + 4], "big") / 2**32 for start in (0, 4))
        yield {
            "record": orjson.dumps(record, default=str).decode(), "fingerprint": mark,
            "held": int(place not in table.targets and first < settings.hold_out), "places": settings.overlap, "rank": int(second * total),
            "suggestion": None, "confidence": None,
        }  # fmt: skip


def _import(database: Database, project: Project, table: Table, stored: Sequence[tuple[int, bool]], log: ChainLog) -> int:
    """Store the answers of the table for records without a label, and return how many that were."""
    answers = {stored[place][0]: target for place, target in table.targets.items()}
    free: set[int] = set()
    for part in projects.in_parts(answers, 2000):
        with database.reading() as connection:
            found = labels.read(connection, project.id, part)
        free |= {one.record.number for one in found if not (one.labels or one.decision or one.record.held)}
    import_labels(database, project, {number: target for number, target in answers.items() if number in free})
    if left := len(answers) - len(free):
        why = "are for records that are labelled, reserved or held out, and were left out"
        log.note(Note("answers in the table", why, left, len(answers)))
    return len(free)
