"""forget: deletes what a server stored of a text, a customer, a key, a vertical or a time: rows, uploads, and what jobs made of them.

Files go before the rows that name them, and artifacts before the uploads that they were made of, so that an interrupted deletion is
finished by repeating it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, and_, or_, select

from vertune.core.artifact import SHELVES, Artifact, Home
from vertune.core.errors import Conflict, NotFound, UnknownName
from vertune.core.files import read_json
from vertune.core.records import shortened
from vertune.masking import standard_masker
from vertune.steps import check, clean, in_use, record_states
from vertune.steps.monitor.reference import forget_reference
from vertune.steps.remove import everything, remove
from vertune.store import entries, jobs, labels, outputs, projects, rollouts, schema, uploads
from vertune.store.audit import note
from vertune.store.database import Database, format_time
from vertune.store.deletion import Deletion, carry_out
from vertune.store.jobs import Job
from vertune.store.traffic import fingerprint, fingerprint_key
from vertune.store.uploads import Upload

_SAMPLE = 500
"""Largest number of a customer's records that datasets are searched for, of feedback and of labels each."""
_ROWS = ("train.parquet", "validation.parquet", "test.parquet", "gold.parquet", "rejected.jsonl", "held.jsonl")
"""Files with the rows of a dataset."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search of files found, by their places in the list."""

    found: Sequence[int]
    """Files that contain one of the records."""
    unread: Sequence[int] = ()
    """Files that can't be read."""


Search = Callable[[Sequence[Path], Sequence[Mapping[str, Any]]], Searched]
"""Searches files with records for rows that contain all values of one of these records. Files may be made to exhaust memory."""


@dataclass(slots=True)
class Forgotten:
    """What a deletion took and what it left."""

    deleted: dict[str, int] = field(default_factory=dict)
    """How much was deleted, of each kind."""
    remaining: dict[str, list[str]] = field(default_factory=dict)
    """The ids of what is left: uploads, jobs, datasets, reports and products that still contain it, and models that were trained on it."""
    unread: list[str] = field(default_factory=list)
    """The ids of uploads that could not be searched."""


@dataclass(slots=True)
class _Meant:
    """What a deletion means apart from the rows of requests and feedback."""

    uploads: list[Upload] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    artifacts: set[str] = field(default_factory=set)
    """The ids of datasets, models and reports, and of runs that did not finish."""


def forget(home: Home, database: Database, wanted: Deletion, actor: str, search: Search) -> Forgotten:
    """Delete what is meant, tell the audit how much it was, without a text, and return it with what remains.

    Without records, uploads, jobs that have ended, their predictions, and the datasets and reports that were made of them are deleted;
    jobs that have not ended are cancelled. With records, they are only named, unless `wanted.uploads` says that they are deleted too.
    Models are deleted only then, and only those that no alias and no rollout names. A job that was running can be deleted by repeating
    the deletion some seconds later. Raises ConfigError if nothing says what to delete.
    """
    shown = {name: standard_masker().text(value) for name, value in wanted.conditions().items()}
    clean.finish_removals(home)
    uploads.delete_leftovers(database, home.folder)
    result, made = Forgotten(), _Made(home)
    meant = _containing(database, made, wanted, search, result) if wanted.records else _matching(database, made, wanted)
    if wanted.records and not wanted.uploads:
        result.remaining = _named(made, meant)
    else:
        learnt = _learnt(database, made, wanted, search) - meant.artifacts
        _delete(database, made, meant, actor, _Kinds(models=bool(wanted.records), result=result))
        for kind, ids in _named(made, _Meant(artifacts=learnt)).items():
            result.remaining[kind] = [*result.remaining.get(kind, ()), *ids]
    _forget_labels(home, database, wanted, actor, result)
    if wanted.records and (tests := check.containing(home, wanted.records)):
        result.remaining["tests"] = tests
    counts = dict(result.deleted)
    result.deleted = {**carry_out(database, wanted, actor, {**shown, **counts}), **counts}
    if wanted.means_entries and (products := _products(home, database)):
        result.remaining["products"] = products
    database.empty_log()
    return result


def _products(home: Home, database: Database) -> list[str]:
    """Return the products that were made with entries of which no text is left in the database."""
    with database.reading() as connection:
        gone = entries.deleted(connection)
    files = {one.id: one.folder / "entries.json" for one in home.shelf("products")} if gone else {}
    return [id for id, file in files.items() if file.is_file() and any(entry["id"] in gone for entry in read_json(file))]


def _forget_labels(home: Home, database: Database, wanted: Deletion, actor: str, result: Forgotten) -> None:
    """Delete what labelling projects hold of it: records that are meant, labels that were given with a key, or a customer's projects."""
    before = None if wanted.before is None else format_time(wanted.before)
    deleted = Counter[str]()
    if wanted.vertical is not None:  # a project belongs to none
        return
    if wanted.records:
        if wanted.key is None and before is None:
            key = fingerprint_key(database)
            marks = [fingerprint(record, key) for record in wanted.records]
            deleted["records"], changed = labels.remove_records(database, marks, wanted.customer)
            for id in changed:
                record_states.remove_states(home.folder, id)
    elif wanted.key is not None:
        deleted["labels"] = labels.remove_of(database, wanted.key, before)
    elif wanted.customer is not None:
        with database.reading() as connection:
            found = [one for one in projects.find(connection, wanted.customer) if before is None or one.at < before]
        for one in found:
            record_states.remove_states(home.folder, one.id)
            projects.remove(database, one.id)
            with database.writing() as connection:
                note(connection, actor, "delete", f"project {one.id}", {"records": one.records})
        deleted["projects"] = len(found)
    result.deleted |= {kind: count for kind, count in deleted.items() if count}


class _Made:
    """The artifacts of a home, and what each was made of."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.artifacts = {one.id: one for one in everything(home)}
        self._manifests = {id: one.manifest_or_empty for id, one in self.artifacts.items()}
        self.parents = {id: [*one.parents] for id, one in self.artifacts.items()}

    def of_customer(self, customer: str, before: str | None) -> set[str]:
        """Return what jobs made for a customer, before a time in UTC if one is given."""
        return {
            id
            for id, manifest in self._manifests.items()
            if manifest.get("customer") == customer and (before is None or str(manifest.get("created")) < before)
        }

    def of_uploads(self, files: Collection[str]) -> set[str]:
        """Return what was made of files with these names."""
        return {id for id, manifest in self._manifests.items() if any(file in repr(manifest.get("config")) for file in files)}

    def of_jobs(self, found: Sequence[Job]) -> set[str]:
        """Return what jobs made, apart from the model that a job only read."""
        shelves = {"prepare": ["dataset"], "evaluate": ["report"], "compress": ["model"], "predict": []}
        ids = {(job.result or {}).get(shelf) for job in found for shelf in shelves.get(job.kind, ["dataset", "model", "report"])}
        return {id for id in ids if id in self.artifacts}

    def all_of(self, ids: Collection[str]) -> set[str]:
        """Return these artifacts, and all that was made of them."""
        return {id for id in self.artifacts if not in_use.ancestors([id], self.parents).isdisjoint(ids)}

    def is_shared(self, id: str) -> bool:
        """Return whether an artifact belongs to no customer, so that it may contain what several ones sent."""
        return not self._manifests[id].get("customer")

    def shelf(self, id: str) -> str:
        """Return the folder in which an artifact is, or would be once it is finished."""
        return str(self._manifests[id].get("shelf") or self.artifacts[id].folder.parent.name)


@dataclass(frozen=True, slots=True)
class _Kinds:
    """What may be deleted, and where it is counted."""

    models: bool
    result: Forgotten

    def count(self, kind: str) -> None:
        self.result.deleted[kind] = self.result.deleted.get(kind, 0) + 1

    def keep(self, kind: str, id: str) -> None:
        self.result.remaining.setdefault(kind, []).append(id)


def _matching(database: Database, made: _Made, wanted: Deletion) -> _Meant:
    """Return the uploads and jobs to which all conditions apply, and what was made of them."""
    with database.reading() as connection:
        found = _Meant(_uploads(connection, wanted), _jobs(connection, wanted))
        files = [one.file for one in found.uploads]
        found.jobs = _with_readers(connection, found.jobs, files)
    roots = made.of_uploads(files) | made.of_jobs(found.jobs)
    if wanted.customer is not None and wanted.key is None and wanted.vertical is None:
        roots |= made.of_customer(wanted.customer, None if wanted.before is None else format_time(wanted.before))
    found.artifacts = made.all_of(roots)
    return found


def _containing(database: Database, made: _Made, wanted: Deletion, search: Search, result: Forgotten) -> _Meant:
    """Return the uploads, predictions and datasets that contain a record, and what was made of them."""
    with database.reading() as connection:
        candidates, all_jobs = _uploads(connection, wanted), _jobs(connection, wanted)
    folder = made.home.folder
    predicted = [job for job in all_jobs if (folder / outputs.OUTPUTS / f"{job.id}.jsonl").exists()]
    datasets = [] if wanted.key or wanted.vertical else [one for id, one in made.artifacts.items() if made.shelf(id) == "datasets"]
    if wanted.customer is not None:
        owned = made.of_customer(wanted.customer, None)
        datasets = [one for one in datasets if one.id in owned]
    rows = [(one, file) for one in datasets for name in _ROWS if (file := one.folder / name).is_file()]
    files = [folder / uploads.FOLDER / one.file for one in candidates]
    files += [folder / outputs.OUTPUTS / f"{job.id}.jsonl" for job in predicted] + [file for _, file in rows]
    searched = search(files, wanted.records)
    owners: list[Upload | Job | Artifact] = [*candidates, *predicted, *(one for one, _ in rows)]
    hits = [owners[place] for place in searched.found]
    result.unread = [one.id for place in searched.unread if isinstance(one := owners[place], Upload)]
    found = _Meant([one for one in hits if isinstance(one, Upload)], [one for one in hits if isinstance(one, Job)])
    names = [one.file for one in found.uploads]
    with database.reading() as connection:
        found.jobs = _with_readers(connection, [*found.jobs, *_quoting(connection, all_jobs, wanted)], names)
    found.artifacts = made.all_of(made.of_uploads(names) | made.of_jobs(found.jobs) | {one.id for one in hits if isinstance(one, Artifact)})
    return found


def _quoting(connection: Connection, among: Sequence[Job], wanted: Deletion) -> list[Job]:
    """Return those of the jobs whose events quote a record, as notes on rows that could not be used do."""
    event, quotes = schema.job_events.c.event, []
    for record in wanted.records:
        values = [orjson.dumps(shortened(value)).decode() for value in record.values() if isinstance(value, str) and value]
        quotes += [and_(*(event.contains(value, autoescape=True) for value in values))] if values else []
    ids = set(connection.scalars(select(schema.job_events.c.job).where(or_(*quotes)).distinct())) if quotes else set()
    return [job for job in among if job.id in ids]


def _learnt(database: Database, made: _Made, wanted: Deletion, search: Search) -> set[str]:
    """Return the datasets of the operator that contain what a customer, or a key, gave as feedback or as labels, and what they became.

    A retraining learns from all feedback on a vertical, and its dataset belongs to no customer, so only the rows themselves tell.
    """
    if wanted.records or (wanted.customer is None and wanted.key is None):
        return set()
    said, rows, given = schema.feedback.c, schema.records.c, schema.labels.c
    newest = select(said.record).where(said.record.is_not(None), *wanted.where(said, ("vertical", "customer", "key")))
    labelled = (
        select(rows.record)
        .join(schema.projects, schema.projects.c.id == rows.project)
        .join(schema.labels, (given.project == rows.project) & (given.number == rows.number))
        .where(schema.projects.c.customer == wanted.customer, given.state == "done")
    )
    with database.reading() as connection:
        texts = set(connection.scalars(newest.order_by(said.id.desc()).limit(_SAMPLE)))
        if wanted.customer is not None and wanted.vertical is None:
            texts |= set(connection.scalars(labelled.limit(_SAMPLE)))
    datasets = [one for id, one in made.artifacts.items() if made.shelf(id) == "datasets" and made.is_shared(id)] if texts else []
    files = [(one.id, file) for one in datasets for name in _ROWS if (file := one.folder / name).is_file()]
    found = search([file for _, file in files], [orjson.loads(text) for text in sorted(texts)]).found if files else ()
    return made.all_of({files[place][0] for place in found})


def _uploads(connection: Connection, wanted: Deletion) -> list[Upload]:
    """Return the uploads to which all conditions apply; none with a vertical, because an upload belongs to none."""
    table = schema.uploads.c
    if wanted.vertical is not None:
        return []
    ids = connection.scalars(select(table.id).where(*wanted.where(table, ("key", "customer"))).order_by(table.id))
    return [uploads.get(connection, id, None) for id in list(ids)]


def _jobs(connection: Connection, wanted: Deletion) -> list[Job]:
    """Return the jobs to which all conditions apply."""
    table = schema.jobs.c
    ids = connection.scalars(select(table.id).where(*wanted.where(table, ("key", "customer", "vertical"))).order_by(table.id))
    return [jobs.get(connection, id, jobs.Filter()) for id in list(ids)]


def _with_readers(connection: Connection, found: Sequence[Job], files: Sequence[str]) -> list[Job]:
    """Return these jobs, and those that read one of these files."""
    table, by_id = schema.jobs.c, {job.id: job for job in found}
    for file in files:
        for id in list(connection.scalars(select(table.id).where(table.request.contains(file, autoescape=True)))):
            by_id.setdefault(id, jobs.get(connection, id, jobs.Filter()))
    return list(by_id.values())


def _named(made: _Made, meant: _Meant) -> dict[str, list[str]]:
    """Return the ids of what is meant, by kind."""
    named = {"uploads": [one.id for one in meant.uploads], "jobs": [job.id for job in meant.jobs]}
    for id in sorted(meant.artifacts):
        named.setdefault(made.shelf(id), []).append(id)
    return {kind: ids for kind, ids in named.items() if ids}


def _delete(database: Database, made: _Made, meant: _Meant, actor: str, kinds: _Kinds) -> None:
    """Delete what is meant, the models among it only if they may be; what is in use remains."""
    with database.reading() as connection:
        candidates = {rollout.model for rollout in rollouts.running(connection).values()}
    for job in meant.jobs:
        with database.writing() as connection:
            jobs.cancel(connection, job)
    order = {shelf: place for place, shelf in enumerate(("reports", "models", *SHELVES))}
    for id in sorted(meant.artifacts, key=lambda one: (order.get(made.shelf(one), 0), one)):
        shelf = made.shelf(id)
        if shelf == "backbones" or (shelf == "models" and (not kinds.models or id in candidates)):
            forget_reference(made.home.folder, id)  # its answers to rows of the dataset, which may quote them
            kinds.keep(shelf, id)
            continue
        try:
            with suppress(UnknownName):  # another process was faster
                remove(made.home, id)
        except Conflict:  # an alias or a running command needs it
            kinds.keep(shelf, id)
            continue
        with database.writing() as connection:
            note(connection, actor, "delete", f"{shelf.removesuffix('s')} {id}", {})
        kinds.count(shelf)
    for job in meant.jobs:
        try:
            with database.reading() as connection:
                now = jobs.get(connection, job.id, jobs.Filter())
            outputs.delete_job(database, made.home.folder, now, actor)
            kinds.count("jobs")
        except NotFound:
            continue
        except Conflict:
            kinds.keep("jobs", job.id)
    for upload in meant.uploads:
        uploads.delete_upload(database, made.home.folder, upload, actor)
        kinds.count("uploads")
