"""`/v1/deletions` and `/v1/audit`: deletes what is stored of users, and lists who changed what; does not depend on how rows are deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from vertune.core.errors import DataError
from vertune.data.validate import read_fields
from vertune.runtime.predictor import Predictor
from vertune.server.feedback import Short
from vertune.server.resource import Resource
from vertune.server.searching import searcher
from vertune.server.stored import Moment, actor_of, database_of
from vertune.steps.forget import forget
from vertune.store.audit import AuditEntry, entries
from vertune.store.deletion import Deletion

resource = Resource("administration")


class DeletionRequest(BaseModel):
    """What to delete: everything stored to which all of these conditions apply."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "The machine kept my card"}]})

    vertical: Short | None = None
    key: Short | None = None
    """The id of an API key."""
    customer: Short | None = None
    before: Moment | None = None
    text: str | None = None
    """A text, exactly as it was sent. It is found although it is stored masked or not at all."""
    record: dict[str, Any] | None = None
    """A record, exactly as it was sent, instead of a text."""
    feedback: bool = True
    """Whether feedback is deleted too."""
    uploads: bool = False
    """With a text or record: whether uploads that contain it are deleted too, with what jobs made of them."""

    def deletion(self, predictors: Iterable[Predictor]) -> Deletion:
        """Return what is meant; raise DataError for both a text and a record.

        A record is stored with the fields alone that a vertical reads, so it is looked for in the form of each of them.
        """
        if self.text is not None and self.record is not None:
            raise DataError("The request contains both a text and a record; expected at most one. Send one of the two.")
        before = self.before if self.before is None or self.before.tzinfo else self.before.replace(tzinfo=UTC)
        records = [] if self.text is None else [{"text": self.text}]
        if self.record is not None:
            records = [self.record, *(found for one in predictors if (found := read_fields(one, self.record)))]
        return Deletion(self.vertical, self.key, self.customer, before, records, feedback=self.feedback, uploads=self.uploads)


class Deleted(BaseModel):
    """How much was deleted, and what remains."""

    answers: int
    requests: int
    feedback: int
    users: int = 0
    """Number of users of the customer, who can't sign in any more."""
    records: int = 0
    """Number of records of labelling projects, with their labels."""
    labels: int = 0
    """Number of labels that were given with a key, where a key is meant."""
    projects: int = 0
    conversations: int = 0
    """Number of conversations with apps."""
    uploads: int = 0
    jobs: int = 0
    datasets: int = 0
    """Number of datasets that jobs made."""
    reports: int = 0
    models: int = 0
    remaining: dict[str, list[str]]
    """The ids of uploads, jobs, datasets and reports that still contain it, and of models that were trained on it."""
    unread: list[str]
    """The ids of uploads that could not be searched."""


class AuditPage(BaseModel):
    """Some changes, in the order in which they were made."""

    entries: list[AuditEntry]
    next: str | None
    """The value for `after` to get what follows; null if nothing does."""


@resource.post("/v1/deletions", scope="admin")
def delete_stored(body: DeletionRequest, request: Request) -> Deleted:
    """Delete what is stored of a text, a vertical, a key, a customer or a time, for good. The audit tells it, without the text.

    Without a text or record, uploads are deleted too, with the predictions, datasets and reports that jobs made of them. With a customer
    alone, its users and labelling projects are deleted, too; with a text, the records that are equal to it, with their labels.
    """
    deployments = request.app.state.service.answers.fleet.deployments.values()
    wanted = body.deletion(one.predictor for one in deployments)
    wanted.conditions()
    recorder = request.app.state.service.recorder
    if recorder is not None:
        recorder.writer.flush()  # what is answered, but not stored yet, would be stored after the deletion
    home, database = request.app.state.service.home, database_of(request)
    found = forget(home, database, wanted, actor_of(request), searcher(database, home.folder))
    return Deleted(**found.deleted, remaining=found.remaining, unread=found.unread)


@resource.get("/v1/audit", scope="admin")
def audit(
    request: Request,
    after: Annotated[str, Query(max_length=32, pattern=r"^[0-9a-f]*$")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """List who changed what on this server, and when."""
    with database_of(request).reading() as connection:
        found = entries(connection, after, limit + 1)
    listed = found[:limit]
    return AuditPage(entries=listed, next=listed[-1].id if len(found) > limit else None)
