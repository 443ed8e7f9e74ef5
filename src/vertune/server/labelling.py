"""What the resources of labelling projects share: how labels are checked, measured, searched and trained on; does not depend on HTTP."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vertune.core.errors import Conflict, NotFound, VertuneError
from vertune.core.format import Labelled
from vertune.core.ids import time_ordered_id
from vertune.core.kinds import Task
from vertune.metrics.right_answers import probable_values, right_answers
from vertune.server.compared import several
from vertune.steps.label import checked_label, task_of
from vertune.steps.label.settings import ProjectSettings
from vertune.steps.record_states import remove_states
from vertune.store import jobs, labels, projects
from vertune.store.audit import note
from vertune.store.database import Database, format_time
from vertune.store.jobs import Job
from vertune.store.labels import Change, LabelledRecord
from vertune.store.projects import Project, StoredRecord
from vertune.store.traffic import fingerprint_key, idempotency_hash

MOST_FREE = 10_000
"""Number of free records from which they are no longer counted."""
_STEP = 500
"""Number of records that are read or written at once."""
_MOST = 10_000
"""Largest number of records that are labelled together."""
_AGAIN = 600
"""Seconds after which a ranking that failed is tried again."""
_TIMED = 200
"""Number of last labels of an annotator whose times are averaged."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What an annotator sends about one record."""

    record: int
    state: labels.LabelState
    target: Mapping[str, Any] | None
    seconds: float | None
    version: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of labels that were sent: the numbers of their records, and of those that can't be stored also why."""

    stored: list[int]
    stale: list[int]
    refused: dict[int, str]


def store(database: Database, project: Project, annotator: str, sent: Sequence[Answered]) -> Outcome:
    """Check labels and store those that can be used; they are on the disk when this returns."""
    task = task_of(project)
    with database.reading() as connection:
        records = projects.records(connection, project.id, [one.record for one in sent])
    refused: dict[int, str] = {}
    changes = []
    for one in sent:
        record = records.get(one.record)
        if record is None:
            refused[one.record] = _missing(one.record)
            continue
        try:
            changes.append(Change(one.record, one.state, _target(task, one, record.fields), one.seconds, one.version))
        except VertuneError as error:
            refused[one.record] = str(error)
    saved = labels.save(database, project, annotator, changes, datetime.now(UTC)) if changes else labels.Saved()
    for number in saved.unknown:
        refused[number] = _missing(number)
    for number in saved.taken:
        refused[number] = str(Conflict(f"Enough others have the record {number}, which you skipped. Label another one."))
    return Outcome(saved.stored, saved.stale, refused)


def _missing(number: int) -> str:
    return str(NotFound(f"There is no record {number} in this project; it may have been deleted. Label another one."))


def _target(task: Task, sent: Answered, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the target of a label as it is stored; a draft is stored as it is, because it need not be complete."""
    if sent.state in ("pending", "skipped", "rejected"):
        return None
    if sent.state == "draft":
        return None if sent.target is None else dict(sent.target)
    return checked_label(task, sent.target or {}, fields)


def ask_for_ranking(database: Database, project: Project, key: str | None, again: bool = False) -> Job | None:
    """Start the job that ranks the records of a project, if it is time: enough labels were given since the last one, or records were added.

    With `again`, it is started in any case. Returns the job that is queued or running already, if there is one, and None if it is not time
    yet, or if the task can't be ranked. Of several servers that find that it is time, one starts it; if it fails, another one is started
    after a while.
    """
    task, settings = task_of(project), ProjectSettings.model_validate(project.settings)
    if not task.linear_head or project.state != "open":
        return None
    with database.reading() as connection:
        done = sum(states.get("done", 0) for states in labels.counts(connection, project.id).values())
        since = done - int(project.found.get("given", 0))
        same = project.records == project.found.get("records", project.records)
        if not again and project.turn and since < settings.batch and same:
            return None
        if (there := jobs.unfinished(connection, project.customer, "rank", project.name)) is not None:
            return there
    mark = time_ordered_id() if again else f"{project.id}-{project.turn}-{int(time.time() / _AGAIN)}"
    wanted = {"project": project.name, "given": done}
    row = {
        "id": time_ordered_id(), "at": format_time(datetime.now(UTC)), "customer": project.customer, "key": key, "kind": "rank",
        "vertical": project.name, "request": wanted, "priority": 6, "idempotency": idempotency_hash(mark, fingerprint_key(database)),
        "digest": hashlib.sha256(mark.encode()).digest(),
    }  # fmt: skip
    return jobs.add(database, row, mark)[0]


def progress(database: Database, project: Project) -> dict[str, Any]:
    """Return how far a project is: each annotator's share and speed, the learning curve and the labels still needed."""
    with database.reading() as connection:
        counted = labels.counts(connection, project.id)
        people = [
            {"name": name, **{state: states.get(state, 0) for state in ("done", "skipped", "rejected", "draft")},
             **_speed(labels.seconds(connection, project.id, name, _TIMED))}
            for name, states in sorted(counted.items())
        ]  # fmt: skip
        labelled, decided = labels.labelled_records(connection, project.id), labels.decided_records(connection, project.id)
        free = projects.free_records(connection, project.id, MOST_FREE)
    return {
        "records": project.records, "labelled": labelled, "open": free, "held": project.held, "decided": decided, "annotators": people,
        "ranked_at": project.found.get("at"), "curve": project.found.get("curve", []),
        **{name: project.found.get(name) for name in ("needed", "worth", "advice")},
    }  # fmt: skip


def _speed(seconds: Sequence[float]) -> dict[str, float | None]:
    """Return the median seconds for a label, and the labels in an hour at that speed."""
    middle = statistics.median(seconds) if seconds else None
    return {"seconds": middle, "per_hour": None if not middle else 3600 / middle}


def labelled(database: Database, project: Project, all_labels: bool) -> list[Labelled]:
    """Return the labelled records: with one right answer each, or with the labels of all annotators and the decisions."""
    found = []
    for one, target in with_answers(project, labels.each_labelled(database, project.id)):
        number, fields = one.record.number, one.record.fields
        done = [label for label in one.labels if label.state == "done" and label.target is not None]
        if all_labels:
            found += [Labelled(fields, label.target or {}, number, label.annotator, label.at, seconds=label.seconds) for label in done]
        decision = one.decision
        if decision is not None:
            found.append(Labelled(fields, decision.target, number, decision.reviewer, decision.at, decision=True))
        elif not all_labels and target is not None:
            last, alone = done[-1], len(done) == 1
            annotator, seconds = (last.annotator, last.seconds) if alone else (None, None)
            found.append(Labelled(fields, target, number, annotator, last.at, seconds=seconds))
    return found


def with_answers(project: Project, records: Iterable[LabelledRecord]) -> Iterator[tuple[LabelledRecord, dict[str, Any] | None]]:
    """Yield labelled records with their right answers, by the rule of the project; None for those that are undecided."""
    rule = ProjectSettings.model_validate(project.settings).consensus
    return right_answers(records, task_of(project).target_columns, rule)


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the labels of several annotators of one record amount to."""

    target: dict[str, Any]
    probability: float | None
    """How probable it is that this is right; None for a majority, which says nothing about it."""


def consensus(database: Database, project: Project, records: Sequence[LabelledRecord]) -> dict[int, Consensus]:
    """Return the consensus on records with labels of several annotators, by number; those that are undecided are left out.

    How reliable annotators are is estimated from the records that several labelled last.
    """
    shared = [one for one in records if len(one.votes) > 1 and not one.rejected]
    if not shared:
        return {}
    if ProjectSettings.model_validate(project.settings).consensus == "majority":
        return {one.record.number: Consensus(target, None) for one, target in with_answers(project, shared) if target is not None}
    with database.reading() as connection:
        others = several(connection, project)
    there = {one.record.number for one in shared}
    everything = [*shared, *(one for one in others if one.record.number not in there)]
    (column, *_) = task_of(project).target_columns
    found = zip(shared, probable_values(everything, column), strict=False)
    return {one.record.number: Consensus({column.name: value[0]}, value[1]) for one, value in found if value is not None}


def changed_settings(project: Project, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a project with those that were given; raise Conflict if they contradict what is stored already."""
    settings = ProjectSettings.model_validate({**project.settings, **given})
    if settings.overlap != project.settings["overlap"] or settings.hold_out != project.settings["hold_out"]:
        raise Conflict(
            "The settings 'overlap' and 'hold_out' can't be changed, because records were divided by them. Create another project of the "
            "same dataset; labels of this one can be exported."
        )
    settings.check(task_of(project))
    return settings.model_dump(mode="json")


def unlabelled(
    database: Database, project: Project, near: Sequence[tuple[int, float]], annotator: str, limit: int = _MOST
) -> list[tuple[StoredRecord, float]]:
    """Return those of the records with these numbers that the annotator has not labelled and that are not held out, at most `limit`."""
    found: list[tuple[StoredRecord, float]] = []
    for part in projects.in_parts(near, _STEP):
        with database.reading() as connection:
            there = labels.read(connection, project.id, [one for one, _ in part], annotator)
        shares = dict(part)
        found += [(one.record, shares[one.record.number]) for one in there if not one.record.held and all(_is_free(x) for x in one.labels)]
        if len(found) >= limit:
            break
    return found[:limit]


def label_all(database: Database, project: Project, annotator: str, numbers: Sequence[int], target: Mapping[str, Any]) -> tuple[str, int]:
    """Give one answer to records that have no label of the annotator; return the id by which that is undone, and their number.

    Raises DataError if the answer does not suit one of the records; then none is labelled.
    """
    batch, version, task = time_ordered_id(), int(time.time() * 1000), task_of(project)
    with database.reading() as connection:
        free = [
            one.record for one in labels.read(connection, project.id, numbers, annotator) if all(_is_free(label) for label in one.labels)
        ]
    changes = [Change(one.number, "done", checked_label(task, target, one.fields), None, version) for one in free]
    for part in projects.in_parts(changes, _STEP):
        labels.save(database, project, annotator, part, datetime.now(UTC), batch=batch)
    return batch, len(changes)


def _is_free(label: labels.Label) -> bool:
    return label.state == "pending"


def delete(database: Database, home: Path, project: Project, actor: str) -> None:
    """Delete a project with its records, labels and states, and tell the audit; a repetition finishes what was interrupted."""
    remove_states(home, project.id)
    projects.remove(database, project.id)
    with database.writing() as connection:
        note(connection, actor, "delete", f"project {project.id}", {"records": project.records})
