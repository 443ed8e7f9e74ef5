"""`/v1/projects/{project}/…`: gives records to annotators, and takes labels and decisions; does not depend on how they are stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import StreamingResponse

from vertune.core.errors import ConfigError, NotFound
from vertune.core.kinds import Format
from vertune.core.parse import build
from vertune.core.sentence import written_error
from vertune.server import labelling, problems
from vertune.server.access import call_of
from vertune.server.label_training import train_if_due
from vertune.server.labelling import Answered
from vertune.server.resource import Resource
from vertune.server.resources.projects import open_project_of, project_of
from vertune.server.stored import database_of
from vertune.steps.label import checked_label, task_of
from vertune.steps.record_states import neighbours
from vertune.store import labels, projects
from vertune.store.database import format_time
from vertune.store.label_search import Filter, find
from vertune.store.labels import Decision, LabelledRecord, LabelState
from vertune.store.projects import Project
from vertune.store.storable import Storable

resource = Resource("labels")
_AT_ONCE = 200
"""Largest number of labels in one request."""
_LARGEST = (1 << 31) - 1
Number = Annotated[int, Field(ge=0, le=_LARGEST)]
Limit = Annotated[int, Field(ge=1, le=200)]
Short = Annotated[Storable, Field(min_length=1, max_length=200)]


class LabelInfo(BaseModel):
    """What one annotator says of a record."""

    state: LabelState
    target: dict[str, Any] | None
    annotator: str
    at: str
    seconds: float | None
    version: int


class Suggestion(BaseModel):
    """What a model says of a record."""

    target: dict[str, Any]
    confidence: float | None


class Consensus(BaseModel):
    """What the labels of several annotators amount to."""

    target: dict[str, Any]
    probability: float | None
    """How probable it is that this is right (Dawid and Skene); null for a majority."""


class DecisionInfo(BaseModel):
    """What a reviewer decided."""

    target: dict[str, Any]
    reason: str
    reviewer: str
    at: str


class Item(BaseModel):
    """A record to label."""

    record: int
    """The number of the record in its project."""
    fields: dict[str, Any]
    suggestion: Suggestion | None
    """Null if there is none, or if the project hides it."""
    label: LabelInfo | None


class Reviewed(BaseModel):
    """A record with what everybody says of it."""

    record: int
    fields: dict[str, Any]
    held: bool
    suggestion: Suggestion | None
    labels: list[LabelInfo]
    decision: DecisionInfo | None
    consensus: Consensus | None = None
    """What the labels of several annotators amount to, by the setting `consensus`; null if they are undecided. Among reviews alone."""


class NextRequest(BaseModel):
    """How many records are wanted."""

    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=1, le=100)] = 20


class NextRecords(BaseModel):
    """The records to label next."""

    records: list[Item]
    left: int
    """The number of records that can still be given to annotators; 10,000 stands for that many or more."""


class GivenLabel(BaseModel):
    """What an annotator says of a record."""

    model_config = ConfigDict(extra="forbid")

    record: Number
    state: LabelState
    target: dict[str, Any] | None = None
    """The fields of the right answer, such as `{"label": "complaint"}`; for the states `done` and `draft`."""
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    """How long the annotator looked at the record."""
    version: Annotated[int, Field(ge=1, lt=1 << 53)]
    """A number that grows with each change of this label, such as the time in milliseconds."""


class GivenLabels(BaseModel):
    """Labels of one annotator."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"labels": [{"record": 7, "state": "done", "target": {"label": "complaint"}, "version": 1}]}]},
    )

    labels: Annotated[list[GivenLabel], Field(min_length=1, max_length=_AT_ONCE)]


class Refused(BaseModel):
    """A label that can't be stored."""

    record: int
    why: str


class SavedLabels(BaseModel):
    """What became of labels, by the numbers of their records."""

    stored: list[int]
    stale: list[int]
    """Those of which a later change is stored."""
    refused: list[Refused]


class OwnLabel(BaseModel):
    """A record with one label."""

    record: int
    fields: dict[str, Any]
    suggestion: Suggestion | None
    label: LabelInfo


class LabelPage(BaseModel):
    """Some labels, the last changed first."""

    labels: list[OwnLabel]
    next: str | None
    """The value for `before` to get what follows; null if nothing does."""


class RecordPage(BaseModel):
    """Some records, in the order of their numbers; a page may have fewer than were asked for although more follow."""

    records: list[Reviewed]
    next: int | None
    """The value for `after` to get what follows; null at the end."""


class Similar(BaseModel):
    """A record, and how similar it is to another one, from -1 to 1."""

    record: int
    fields: dict[str, Any]
    similarity: float


class SimilarRecords(BaseModel):
    """Records without a label of the annotator, the most similar first."""

    records: list[Similar]


class LikeThis(BaseModel):
    """All records that are similar to one."""

    model_config = ConfigDict(extra="forbid")

    record: Number
    least: Annotated[float, Field(ge=0.5, le=1)]


class ManyLabels(BaseModel):
    """One answer for many records."""

    model_config = ConfigDict(extra="forbid")

    records: Annotated[list[Number], Field(max_length=10_000)] = []
    similar: LikeThis | None = None
    target: dict[str, Any]


class Batch(BaseModel):
    """Labels that were given together."""

    batch: str
    """The id by which they can be undone."""
    labelled: int


class Undo(BaseModel):
    """Which labels to undo."""

    model_config = ConfigDict(extra="forbid")

    batch: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Undone(BaseModel):
    """How many labels were undone."""

    undone: int


class NewDecision(BaseModel):
    """The right answer of a record."""

    model_config = ConfigDict(extra="forbid")

    record: Number
    target: dict[str, Any]
    reason: Annotated[Storable, Field(max_length=2000)] = ""


class LabelQuery(BaseModel):
    """Which labels are asked for."""

    model_config = ConfigDict(extra="forbid")

    state: LabelState | None = None
    annotator: Short | None = None
    before: Annotated[str | None, Field(max_length=32, pattern=r"^[0-9a-f]*$")] = None
    limit: Limit = 50


class RecordQuery(BaseModel):
    """Which records are asked for."""

    model_config = ConfigDict(extra="forbid")

    text: Short | None = None
    label: Short | None = None
    annotator: Short | None = None
    state: LabelState | None = None
    least: Annotated[float, Field(ge=0, le=1)] | None = None
    """Smallest confidence of the suggestion."""
    most: Annotated[float, Field(ge=0, le=1)] | None = None
    differs: bool = False
    """Only records of which an annotator says something else than the model."""
    disagree: bool = False
    """Only records of which annotators say different things."""
    after: Annotated[int, Field(ge=-1, le=_LARGEST)] = -1
    limit: Limit = 50


class ReviewQuery(BaseModel):
    """Which records are to be reviewed."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["disagreement", "held", "rejected"] = "disagreement"
    after: Annotated[int, Field(ge=-1, le=_LARGEST)] = -1
    limit: Limit = 20


class SimilarQuery(BaseModel):
    """To which record others are similar."""

    model_config = ConfigDict(extra="forbid")

    record: Number
    least: Annotated[float, Field(ge=0.5, le=1)] = 0.8
    limit: Limit = 50


class ExportQuery(BaseModel):
    """What a file of labels contains."""

    model_config = ConfigDict(extra="forbid")

    format: Short = "jsonl"
    all: bool = False
    """Whether the labels of all annotators are written, instead of one right answer for each record."""


_REVIEWS = {"disagreement": {"disagree": True}, "held": {"held": True}, "rejected": {"state": "rejected"}}


@resource.post("/v1/projects/{project}/next", scope="label", responses=problems.documented(404, 409))
def next_records(project: str, body: NextRequest, request: Request) -> NextRecords:
    """Reserve the next records for the annotator for 15 minutes, and return them; those that are reserved already come first."""
    found, database = open_project_of(request, project), database_of(request)
    items = labels.reserve(database, found, _annotator(request), body.count, datetime.now(UTC))
    if request.app.state.service.jobs is not None:
        labelling.ask_for_ranking(database, found, call_of(request).key)
        train_if_due(request.app.state.service, found, call_of(request).key)
    with database.reading() as connection:
        left = projects.free_records(connection, found.id, labelling.MOST_FREE)
    return NextRecords(records=[_item(found, one) for one in items], left=left)


@resource.put("/v1/projects/{project}/labels", scope="label", responses=problems.documented(404, 409))
def put_labels(project: str, body: GivenLabels, request: Request) -> SavedLabels:
    """Store labels of the annotator; they are on the disk when the response is sent. What is sent again changes nothing.

    The state `pending` takes a label back, `skipped` leaves the record to others, and `rejected` says that it can't be labelled.
    """
    sent = [Answered(one.record, one.state, one.target, one.seconds, one.version) for one in body.labels]
    meant = open_project_of(request, project)
    found = labelling.store(database_of(request), meant, _annotator(request), sent)
    train_if_due(request.app.state.service, meant, call_of(request).key)
    language = problems.language_of(request.scope)
    refused = [Refused(record=number, why=written_error(why, language)) for number, why in found.refused.items()]
    return SavedLabels(stored=found.stored, stale=found.stale, refused=refused)


@resource.get("/v1/projects/{project}/labels", scope="label")
def list_labels(project: str, request: Request, query: Annotated[LabelQuery, Query()]) -> LabelPage:
    """List the annotator's own labels, the last changed first; with the permission `review`, also those of others."""
    found, person = project_of(request, project), _annotator(request)
    if query.annotator not in (None, person):
        request.app.state.access.authorize(request, "review")
    with database_of(request).reading() as connection:
        who = query.annotator or person
        page = labels.labels_of(connection, found.id, who, query.state, before=query.before, limit=query.limit + 1)
    listed = [
        OwnLabel(record=one.record.number, fields=one.record.fields, suggestion=_suggestion(found, one), label=_label(one.labels[0]))
        for one in page[: query.limit]
    ]
    return LabelPage(labels=listed, next=page[query.limit - 1].labels[0].id if len(page) > query.limit else None)


@resource.get("/v1/projects/{project}/records", scope="review")
def list_records(project: str, request: Request, query: Annotated[RecordQuery, Query()]) -> RecordPage:
    """List records with all labels and decisions."""
    wanted, found = Filter(**query.model_dump(exclude={"after", "limit"})), project_of(request, project)
    with database_of(request).reading() as connection:
        records, following = find(connection, found.id, wanted, query.after, query.limit)
    return RecordPage(records=[_reviewed(one) for one in records], next=following)


@resource.get("/v1/projects/{project}/reviews", scope="review")
def list_reviews(project: str, request: Request, query: Annotated[ReviewQuery, Query()]) -> RecordPage:
    """List records that a reviewer should decide on: where annotators disagree, the hold-out, or what an annotator rejected."""
    wanted = Filter(**_REVIEWS[query.kind], undecided=True)  # type: ignore[arg-type]  # each of them is a filter
    found, database = project_of(request, project), database_of(request)
    with database.reading() as connection:
        records, following = find(connection, found.id, wanted, query.after, query.limit)
    agreed = labelling.consensus(database, found, records)
    return RecordPage(records=[_reviewed(one, agreed.get(one.record.number)) for one in records], next=following)


@resource.get("/v1/projects/{project}/similar", scope="label")
def list_similar(project: str, request: Request, query: Annotated[SimilarQuery, Query()]) -> SimilarRecords:
    """List records without a label of the annotator that are similar to one, the most similar first."""
    meant = project_of(request, project)
    near = neighbours(request.app.state.service.home.folder, meant, query.record, query.least)
    found = labelling.unlabelled(database_of(request), meant, near, _annotator(request), query.limit)
    return SimilarRecords(records=[Similar(record=one.number, fields=one.fields, similarity=share) for one, share in found])


@resource.post("/v1/projects/{project}/labels/many", scope="review", responses=problems.documented(404, 409))
def label_many(project: str, body: ManyLabels, request: Request) -> Batch:
    """Give one answer to many records that have no label of the annotator yet; it can be undone with the id in the response."""
    if bool(body.records) == (body.similar is not None):
        raise ConfigError("Which records are meant is not clear; expected either 'records' or 'similar'. Send exactly one of them.")
    found, database = open_project_of(request, project), database_of(request)
    numbers = body.records
    if body.similar is not None:
        near = neighbours(request.app.state.service.home.folder, found, body.similar.record, body.similar.least)
        numbers = [one.number for one, _ in labelling.unlabelled(database, found, near, _annotator(request))]
    batch, count = labelling.label_all(database, found, _annotator(request), numbers, body.target)
    return Batch(batch=batch, labelled=count)


@resource.post("/v1/projects/{project}/labels/undo", scope="review")
def undo_labels(project: str, body: Undo, request: Request) -> Undone:
    """Take back labels that were given together; those that were changed since stay."""
    found = open_project_of(request, project)
    return Undone(undone=labels.undo_batch(database_of(request), found, _annotator(request), body.batch))


@resource.put("/v1/projects/{project}/decisions", scope="review", responses=problems.documented(404, 409))
def decide(project: str, body: NewDecision, request: Request) -> DecisionInfo:
    """Decide which answer of a record is right, whatever annotators said."""
    found, database = open_project_of(request, project), database_of(request)
    with database.reading() as connection:
        record = projects.records(connection, found.id, [body.record]).get(body.record)
    if record is None:
        raise NotFound(f"There is no record {body.record} in this project; it may have been deleted. Label another one.")
    target = checked_label(task_of(found), body.target, record.fields)
    made = Decision(body.record, format_time(datetime.now(UTC)), _annotator(request), target, body.reason)
    labels.decide(database, found, made)
    return _decision(made)


@resource.delete("/v1/projects/{project}/decisions/{record}", scope="review", status_code=204)
def withdraw_decision(project: str, record: Annotated[int, Path(ge=0, le=_LARGEST)], request: Request) -> None:
    """Take back the decision on a record."""
    if not labels.withdraw(database_of(request), open_project_of(request, project), record):
        raise NotFound(f"There is no decision on the record {record}. List those to review with GET /v1/projects/NAME/reviews.")


@resource.get("/v1/projects/{project}/export", scope="review", response_class=StreamingResponse)
def export_labels(project: str, request: Request, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
    """Return the labelled records as a file for other software; `vertune parts formats` lists the formats.

    By default, one right answer for each record: what a reviewer decided, or the consensus of the annotators.
    """
    found = project_of(request, project)
    written = build(Format, {"name": query.format})
    content = written.write(task_of(found), labelling.labelled(database_of(request), found, query.all))
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name)}{written.suffix}"}
    return StreamingResponse(content, media_type=written.media_type, headers=headers)


def _annotator(request: Request) -> str:
    person: str = request.app.state.access.person(request)
    return person


def _item(project: Project, one: LabelledRecord) -> Item:
    label = _label(one.labels[0]) if one.labels else None
    return Item(record=one.record.number, fields=one.record.fields, suggestion=_suggestion(project, one), label=label)


def _suggestion(project: Project, one: LabelledRecord) -> Suggestion | None:
    record = one.record
    if record.suggestion is None or project.settings.get("suggestions") == "hidden":
        return None
    return Suggestion(target=record.suggestion, confidence=record.confidence)


def _reviewed(one: LabelledRecord, agreed: labelling.Consensus | None = None) -> Reviewed:
    record = one.record
    suggestion = None if record.suggestion is None else Suggestion(target=record.suggestion, confidence=record.confidence)
    return Reviewed(
        record=record.number, fields=record.fields, held=record.held, suggestion=suggestion, labels=[_label(label) for label in one.labels],
        decision=None if one.decision is None else _decision(one.decision),
        consensus=None if agreed is None else Consensus(target=agreed.target, probability=agreed.probability),
    )  # fmt: skip


def _label(label: labels.Label) -> LabelInfo:
    return LabelInfo(
        state=label.state, target=label.target, annotator=label.annotator, at=label.at, seconds=label.seconds, version=label.version
    )


def _decision(one: Decision) -> DecisionInfo:
    return DecisionInfo(target=one.target, reason=one.reason, reviewer=one.reviewer, at=one.at)
