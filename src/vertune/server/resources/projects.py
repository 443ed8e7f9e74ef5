"""`/v1/projects`: makes, lists, changes and deletes labelling projects, and starts their jobs; labels are another resource."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.requests import Request

from vertune.core.base import AUTO
from vertune.core.errors import ConfigError, Conflict
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.server import labelling, problems
from vertune.server.access import call_of
from vertune.server.job_requests import check_base
from vertune.server.label_training import training
from vertune.server.resource import Resource
from vertune.server.resources.jobs import JobInfo, info
from vertune.server.stored import actor_of, database_of, jobs_of
from vertune.server.uploading import memory_for
from vertune.steps.label import task_of
from vertune.steps.label.settings import LabelHelp, ProjectSettings
from vertune.store import labels, projects, uploads
from vertune.store.audit import note
from vertune.store.projects import Project
from vertune.store.uploads import Upload

resource = Resource("projects")
_SECONDS = 600.0
"""How long making a project of an uploaded file may take."""
Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00/]+$")]


class NewProject(BaseModel):
    """What a labelling project is made of."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "mails", "dataset": "0195…", "task": {"name": "classify"}, "fields": {"text": "body"},
                 "settings": {"labels": [{"name": "complaint"}, {"name": "question"}]}}
            ]
        },
    )  # fmt: skip

    name: Name
    dataset: Name
    """The id of an uploaded file with records; a column with answers gives the first labels."""
    task: str | dict[str, Any]
    """The task, such as `classify`, or one with options."""
    fields: dict[str, str | list[str]] = {}
    """Which column each field of the task is read from."""
    settings: ProjectSettings = ProjectSettings()


class ProjectInfo(BaseModel):
    """Records that people label for one task."""

    id: str
    at: str
    customer: str
    name: str
    task: str
    fields: dict[str, str]
    """The input fields of a record, with their types."""
    target: str
    """The field of the right answer."""
    target_type: str
    labels: list[LabelHelp]
    settings: ProjectSettings
    state: Literal["filling", "open", "closed"]
    records: int
    held: int
    """The number of records in the hold-out, which only reviewers label."""
    notes: list[dict[str, Any]]
    """What was left out of the project, with the reasons."""
    mine: dict[str, int]
    """The number of labels of whoever asks, by their states."""
    given: int
    """The number of labels of all annotators."""
    labelled: int
    """The number of records that somebody has labelled."""


class ProjectList(BaseModel):
    """The labelling projects of a customer."""

    projects: list[ProjectInfo]


class ProjectChange(BaseModel):
    """What to change of a project."""

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, Any] = {}
    """The settings that change; the others stay."""
    state: Literal["open", "closed"] | None = None
    """A closed project takes no more labels."""


class Training(BaseModel):
    """How a model is trained on the labels of a project."""

    model_config = ConfigDict(extra="forbid")

    vertical: Name | None = None
    """The name of the model; by default that of the project."""
    config: dict[str, Any] = {}
    """Further keys of the config, as in run.yaml, apart from the data."""
    accept: bool = False
    """Whether the first model goes live even if it is worse than a simple baseline."""


class FurtherRecords(BaseModel):
    """A file whose records are added to a project."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"dataset": "0195…", "fields": {"text": "body"}}]})

    dataset: Name
    """The id of an uploaded file with records; a column with answers gives labels to records that have none."""
    fields: dict[str, str | list[str]] = {}
    """Which column each field of the task is read from."""


class AddedRecords(BaseModel):
    """What became of the records of a file."""

    added: int
    known: int
    """The number of records that the project had already; they were not added again."""
    labelled: int
    """The number of records that got the answer that the file contains."""
    notes: list[dict[str, Any]]
    """What was left out, with the reasons and examples."""


class AnnotatorProgress(BaseModel):
    """What one annotator has done."""

    name: str
    done: int
    skipped: int
    rejected: int
    draft: int
    seconds: float | None
    """The median time for a label; null if it is not known."""
    per_hour: float | None
    """The number of labels in an hour at that speed."""


class AgreementInfo(BaseModel):
    """How much annotators agree, with its 95 % interval."""

    measure: str
    value: float
    low: float
    high: float
    records: int


class Progress(BaseModel):
    """How far a project is."""

    records: int
    labelled: int
    open: int
    """The number of records that can still be given to annotators; 10,000 stands for that many or more."""
    held: int
    decided: int
    annotators: list[AnnotatorProgress]
    agreement: AgreementInfo | None
    curve: list[dict[str, Any]]
    """The learning curve: the number of labels, and the score of the model that was fitted on them."""
    needed: dict[str, Any] | None
    """The number of labels that the wanted score needs, with its interval; null if it can't be estimated yet."""
    worth: dict[str, Any] | None
    """By how much the next labels raise the score, with its interval."""
    advice: Literal["go on", "little", "stable"] | None
    """Whether to go on: `little` if the next labels are worth little, `stable` if the model's answers no longer change."""
    ranked_at: str | None


class AnnotatorQuality(BaseModel):
    """How often an annotator is right."""

    name: str
    labels: int
    accuracy: float | None
    """Null if nobody else labelled the same records."""


class Quality(BaseModel):
    """The annotators of a project."""

    annotators: list[AnnotatorQuality]


@resource.get("/v1/projects", scope="label")
def list_projects(request: Request) -> ProjectList:
    """List the labelling projects of the customer that owns the API key, newest first."""
    person = request.app.state.access.person(request)
    with database_of(request).reading() as connection:
        found = [one for one in projects.find(connection, call_of(request).customer) if one.state != "filling"]
        return ProjectList(projects=[_described(connection, one, person) for one in found])


@resource.post("/v1/projects", scope="train", status_code=201, responses=problems.documented(404, 409, 422))
def create_project(body: NewProject, request: Request) -> ProjectInfo:
    """Make a labelling project of an uploaded file. Rows that are equal are one record; what can't be used is counted in the notes."""
    database, runner, call = database_of(request), jobs_of(request), call_of(request)
    check_base(body.settings.base)
    with database.reading() as connection:
        upload = uploads.get(connection, body.dataset, call.customer)
    # so that a wrong option, a task that can't be labelled and a rule that does not suit it are refused at once
    body.settings.check_rules(build(Task, body.task if isinstance(body.task, dict) else {"name": body.task}))
    _authorize_training(request, body.settings, body.name)
    wanted = {
        "kind": "label", "name": body.name, "customer": call.customer, **_file(runner.home, upload), "task": body.task,
        "fields": body.fields, "settings": body.settings.model_dump(mode="json"), "actor": actor_of(request),
    }  # fmt: skip
    runner.ask(wanted, _SECONDS)
    with database.reading() as connection:
        made = projects.get(connection, body.name, call.customer)
    labelling.ask_for_ranking(database, made, call.key)
    return _info(request, made)


@resource.post("/v1/projects/{project}/records", scope="train", responses=problems.documented(404, 409, 422))
def add_to_project(project: str, body: FurtherRecords, request: Request) -> AddedRecords:
    """Add the records of an uploaded file to a project. Those that it has already are counted and named, and not added again."""
    database, runner, call = database_of(request), jobs_of(request), call_of(request)
    found = open_project_of(request, project)
    with database.reading() as connection:
        upload = uploads.get(connection, body.dataset, call.customer)
    wanted = {
        "kind": "add_records", "project": found.name, "customer": call.customer, "fields": body.fields, **_file(runner.home, upload),
        "actor": actor_of(request),
    }  # fmt: skip
    made = runner.ask(wanted, _SECONDS)
    labelling.ask_for_ranking(database, project_of(request, project), call.key)
    return AddedRecords(**made)


def _file(home: Path, upload: Upload) -> dict[str, Any]:
    """Return how a process reads an uploaded file."""
    source = {**upload.report.get("source", {}), "name": upload.format, "path": str(uploads.path(home, upload))}
    return {"upload": upload.id, "source": source, "memory": memory_for(upload.bytes)}


def _authorize_training(request: Request, settings: ProjectSettings, name: str) -> None:
    """Raise AccessError for settings that train a model which whoever sends them must not train."""
    if settings.train_after != "never":
        request.app.state.access.authorize(request, "train", [name])


@resource.get("/v1/projects/{project}", scope="label")
def describe_project(project: str, request: Request) -> ProjectInfo:
    """Describe a labelling project."""
    return _info(request, project_of(request, project))


@resource.patch("/v1/projects/{project}", scope="train", responses=problems.documented(404, 409))
def change_project(project: str, body: ProjectChange, request: Request) -> ProjectInfo:
    """Change the settings of a project, or close it. Labels that are in use stay, also if the list leaves them out."""
    found, database = project_of(request, project), database_of(request)
    values: dict[str, Any] = {} if body.state is None else {"state": body.state}
    check_base(body.settings.get("base", AUTO))
    if body.settings:
        values["settings"] = labelling.changed_settings(found, body.settings)
        _authorize_training(request, ProjectSettings.model_validate(values["settings"]), found.name)
    with database.writing() as connection:
        if values:
            projects.change(connection, found.id, **values)
            note(
                connection,
                actor_of(request),
                "change",
                f"project {found.id}",
                {"changed": sorted([*body.settings, *(["state"] if body.state else [])])},
            )
    return describe_project(project, request)


@resource.delete("/v1/projects/{project}", scope="train", status_code=204)
def delete_project(project: str, request: Request) -> None:
    """Delete a project with its records and labels for good; models that were trained on them stay. The audit tells it."""
    found, database = project_of(request, project), database_of(request)
    labelling.delete(database, request.app.state.service.home.folder, found, actor_of(request))


@resource.post("/v1/projects/{project}/rank", scope="label", status_code=202, responses=problems.documented(409, 422))
def rank_project(project: str, request: Request, response: Response) -> JobInfo:
    """Rank the records anew, so that the next ones are those that a model of the labels so far can learn most from."""
    jobs_of(request)
    found = project_of(request, project)
    job = labelling.ask_for_ranking(database_of(request), found, call_of(request).key, again=True)
    if job is None:
        raise ConfigError(
            f"The records of '{project[:80]}' can't be ranked: it is closed, or the head of its task '{found.task['name']}' is not "
            "one linear layer. Label them in a random order instead."
        )
    return info(job)


@resource.post("/v1/projects/{project}/train", scope="train", status_code=201, responses=problems.documented(404, 409))
def train_on_project(project: str, body: Training, request: Request, response: Response) -> JobInfo:
    """Start a job that trains a model on the labels, and measures it on the decided records of the hold-out if there are enough of them."""
    from vertune.server.resources.jobs import start

    found = project_of(request, project)
    wanted = training(database_of(request), found, body.vertical or found.name, body.config, body.accept)
    return start(request, response, wanted)


@resource.get("/v1/projects/{project}/progress", scope="label")
def describe_progress(project: str, request: Request, agreement: bool = True) -> Progress:
    """Return how far a project is: each annotator's share, agreement, the learning curve, and how many labels are still needed.

    Without `agreement`, which takes a second for a million labels if one has changed since, the response comes at once.
    """
    found, database = project_of(request, project), database_of(request)
    compared = request.app.state.service.comparisons.agreement(database, found) if agreement else None
    return Progress(**labelling.progress(database, found), agreement=compared)


@resource.get("/v1/projects/{project}/quality", scope="train")
def describe_quality(project: str, request: Request) -> Quality:
    """Return how often each annotator is right, estimated from records that several people labelled."""
    found = request.app.state.service.comparisons.quality(database_of(request), project_of(request, project))
    return Quality(annotators=[AnnotatorQuality(**one) for one in found])


def project_of(request: Request, name: str) -> Project:
    """Return the project with this name of the customer that owns the API key; raise NotFound if there is none."""
    with database_of(request).reading() as connection:
        return projects.get(connection, name, call_of(request).customer)


def open_project_of(request: Request, name: str) -> Project:
    """Return a project that takes labels and records; raise Conflict if it is closed."""
    found = project_of(request, name)
    if found.state != "open":
        raise Conflict(f"The project '{name[:80]}' is closed, so it takes no labels and records. Open it in its settings first.")
    return found


def _info(request: Request, project: Project) -> ProjectInfo:
    with database_of(request).reading() as connection:
        return _described(connection, project, request.app.state.access.person(request))


def _described(connection: Connection, project: Project, person: str) -> ProjectInfo:
    """Return a project as clients see it; `person` is who sends the request."""
    counted = labels.counts(connection, project.id)
    task, settings = task_of(project), ProjectSettings.model_validate(project.settings)
    target = task.target_columns[0]
    return ProjectInfo(
        id=project.id, at=project.at, customer=project.customer, name=project.name, task=task.name,
        fields={column.name: column.type for column in task.input_columns}, target=target.name, target_type=target.type,
        labels=settings.labels, settings=settings, state=project.state, records=project.records, held=project.held,
        notes=project.found.get("notes", []), mine=counted.get(person, {}),
        given=sum(states.get("done", 0) for states in counted.values()), labelled=labels.labelled_records(connection, project.id),
    )  # fmt: skip
