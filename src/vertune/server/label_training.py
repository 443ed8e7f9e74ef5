"""Trains models on the labels of a project, by the button or by the rule of the project; does not depend on HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vertune.core.errors import AccessError, Busy, DataError
from vertune.core.ids import time_ordered_id
from vertune.server.job_requests import JobRequest, work
from vertune.server.labelling import with_answers
from vertune.server.service import Service
from vertune.steps.label.settings import ProjectSettings
from vertune.steps.rank import LEAST_DECIDED, LEAST_LABELS
from vertune.store import jobs, labels, projects
from vertune.store.database import Database, format_time
from vertune.store.jobs import Job
from vertune.store.projects import Project
from vertune.store.traffic import fingerprint_key, idempotency_hash

_FLAT = ("little", "stable")
"""What the learning curve advises where further labels help little, so that what is left to gain is a deeper training."""
_GROWN = 1.25
"""By which factor the labels must have grown since the last training for the curve to start another one."""


def training(database: Database, project: Project, vertical: str, config: Mapping[str, Any], accept: bool) -> JobRequest:
    """Return the request for a job that trains on the labels of a project; decided records of the hold-out are for the test.

    Raises DataError if there are no labels.
    """
    with database.reading() as connection:
        if not labels.labelled_records(connection, project.id):
            raise DataError(f"The project '{project.name}' has no labels, but a model needs some of each kind. Label records first.")
    held = sum(target is not None for _, target in with_answers(project, labels.each_labelled(database, project.id, held=True)))
    data: dict[str, Any] = {"source": {"labels": project.name}}
    data |= {"test": {"labels": project.name, "held": True}} if held >= LEAST_DECIDED else {}
    return JobRequest(
        kind="fit", config={**config, "name": vertical, "task": project.task, "data": {**config.get("data", {}), **data}}, accept=accept
    )


def train_if_due(service: Service, project: Project, key: str | None) -> Job | None:
    """Start a job that trains on the labels of a project, if its setting `train_after` says that it is time.

    Of several servers that find that it is time, one starts it. A limit of the customer, such as that of its plan, puts it off.
    """
    rule, database = ProjectSettings.model_validate(project.settings).train_after, service.database
    if rule == "never" or project.state != "open" or service.jobs is None or database is None:
        return None
    with database.reading() as connection:
        done = sum(states.get("done", 0) for states in labels.counts(connection, project.id).values())
        last = int(project.found.get("trained", 0))
        if not _is_due(rule, done, last, project.found.get("advice")):
            return None
        busy = jobs.unfinished(connection, project.customer, "fit", project.name) is not None
        if busy or jobs.count(connection, project.customer) >= service.jobs.settings.per_customer:
            return None
    try:
        if service.quotas is not None:
            service.quotas.check_jobs(project.customer, project.name)
    except (AccessError, Busy):
        return None
    job = _start(service, database, project, last, key)
    with database.writing() as connection:
        projects.change_found(connection, project.id, {"trained": done})
    return job


def _is_due(rule: int | str, done: int, last: int, advice: str | None) -> bool:
    """Return whether a model is to be trained, with `done` labels, of which `last` were there at the last training."""
    if isinstance(rule, int):
        return done - last >= rule
    return advice in _FLAT and done >= max(LEAST_LABELS, _GROWN * last)


def _start(service: Service, database: Database, project: Project, last: int, key: str | None) -> Job:
    """Put the job into the queue; one that another server has just started for the same labels is not started twice."""
    assert service.jobs is not None
    request = training(database, project, project.name, {}, accept=False)

    def no_upload(dataset: str) -> Any:
        raise DataError(f"A training on labels can't read the uploaded dataset '{dataset}'; expected the labels alone. Leave it out.")

    config = service.sources.config(request.config or {}, no_upload, lambda scope, name: project.customer)
    mark = f"train-{project.id}-{last}"
    row = {
        "id": time_ordered_id(), "at": format_time(datetime.now(UTC)), "customer": project.customer, "key": key, "kind": "fit",
        "vertical": config.name, "request": {"config": work(config, service.jobs.threads), "accept": False}, "priority": 4,
        "idempotency": idempotency_hash(mark, fingerprint_key(database)), "digest": hashlib.sha256(mark.encode()).digest(),
    }  # fmt: skip
    return jobs.add(database, row, mark)[0]
