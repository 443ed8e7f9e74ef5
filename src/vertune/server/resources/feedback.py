"""`/v1/feedback`: takes, lists, exports and deletes feedback of users; does not depend on how it is checked and stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import StreamingResponse

from vertune.core.errors import NotFound
from vertune.core.ids import first_id_of
from vertune.server import problems
from vertune.server.access import call_of
from vertune.server.feedback import FeedbackBox, FeedbackRequest, Sender, Short
from vertune.server.prediction import find_deployments
from vertune.server.resource import Resource
from vertune.server.stored import Moment, actor_of, database_of
from vertune.server.tables import csv_lines
from vertune.server.texts import as_json, masked_name
from vertune.store.audit import note
from vertune.store.feedback import Feedback, Filter, Verdict, each, find, remove

resource = Resource("feedback")
_MAX_LISTED = 1000
Idempotency = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="A repeated request with the same key is stored once."),
]


class FeedbackInfo(BaseModel):
    """Stored feedback."""

    id: str
    at: str
    """When it arrived, in UTC."""
    vertical: str
    model: str | None
    """The id of the model that gave the answer, or that was served when feedback on another text arrived."""
    answer: str | None
    """The id of the answer; null if the feedback is about a text or record of its own."""
    record: dict[str, Any] | None
    """The input, in the form in which the server keeps texts; null if it keeps none."""
    verdict: Verdict | None
    target: dict[str, Any] | None
    """The fields of the right answer; null if it is not known."""
    comment: str | None
    score: int | None
    author: str | None
    trust: float
    usable: bool
    """Whether a model can learn from it: the input and the right answer are known."""


class FeedbackPage(BaseModel):
    """Some feedback, in the order of its arrival."""

    feedback: list[FeedbackInfo]
    next: str | None
    """The value for `after` to get what follows; null if nothing does."""


@resource.post("/v1/feedback", scope="feedback", status_code=201, responses=problems.documented(404, 409))
def give_feedback(body: FeedbackRequest, request: Request, response: Response, idempotency_key: Idempotency = None) -> FeedbackInfo:
    """Store what a user says about an answer: whether it is right, the right answer, a remark, or how satisfied the user is.

    It is on the disk when the response is sent. Status 200 means that the same request was stored before.
    """
    box, sender, access = _box(request), _sender(request), request.app.state.access
    answered = None if body.answer is None else box.answered(body.answer, sender)
    name = answered.vertical if answered is not None else str(body.vertical)
    access.authorize(request, "feedback", [name])
    (deployment,) = find_deployments(request, [name])
    stored, new = box.take(body, sender, deployment, answered, idempotency_key)
    response.status_code = 201 if new else 200
    return _info(stored)


class FeedbackQuery(BaseModel):
    """Which feedback is asked for."""

    model_config = ConfigDict(extra="forbid")

    vertical: Short | None = None
    verdict: Verdict | None = None
    author: Short | None = None
    since: Moment | None = None
    until: Moment | None = None
    after: Annotated[str, Field(max_length=32, pattern=r"^[0-9a-f]*$")] = ""
    """The id after which the list begins, from `next` of the previous page."""
    limit: Annotated[int, Field(ge=1, le=_MAX_LISTED)] = 100

    def filter(self, request: Request, usable: bool = False) -> Filter:
        """Return which feedback is meant, of what the API key of the request may see; raise AccessError if it may not see the vertical."""
        access, sender = request.app.state.access, _sender(request)
        if self.vertical is not None:
            access.authorize(request, "feedback", [self.vertical])
        return Filter(
            None if sender.sees_all else sender.customer,
            access.verticals(request) if self.vertical is None else [self.vertical],
            self.verdict, masked_name(self.author), after=max(self.after, "" if self.since is None else first_id_of(self.since)),
            before=None if self.until is None else first_id_of(self.until), usable=usable,
        )  # fmt: skip


class ExportQuery(BaseModel):
    """What an export contains."""

    model_config = ConfigDict(extra="forbid")

    vertical: Short
    media_type: Literal["application/x-ndjson", "text/csv"] = "application/x-ndjson"
    """JSON Lines, or a table in which lists and objects are JSON."""
    usable: bool = True
    """Whether feedback without a right answer, or without a text, is left out."""
    since: Moment | None = None


@resource.get("/v1/feedback", scope="feedback")
def list_feedback(request: Request, query: Annotated[FeedbackQuery, Query()]) -> FeedbackPage:
    """List feedback of the customer that owns the API key; with the permission `admin`, that of all customers."""
    with database_of(request).reading() as connection:
        found = find(connection, query.filter(request), query.limit + 1)
    return FeedbackPage(
        feedback=[_info(one) for one in found[: query.limit]], next=found[query.limit - 1].id if len(found) > query.limit else None
    )


@resource.get("/v1/feedback/export", scope="feedback", response_class=StreamingResponse)
def export_feedback(request: Request, query: Annotated[ExportQuery, Query()]) -> Response:
    """Return feedback on a vertical as a file of training records: one row each, with the fields of the input and the right answer."""
    wanted = FeedbackQuery(vertical=query.vertical, since=query.since).filter(request, query.usable)
    rows = (one.as_row() for one in each(database_of(request), wanted))
    return StreamingResponse(_WRITERS[query.media_type](rows), media_type=query.media_type)


@resource.delete("/v1/feedback/{id}", scope="feedback", status_code=204)
def delete_feedback(id: str, request: Request) -> None:
    """Delete feedback for good; the audit tells it."""
    sender, verticals = _sender(request), request.app.state.access.verticals(request)
    with database_of(request).writing() as connection:
        if remove(connection, id, None if sender.sees_all else sender.customer, verticals):
            note(connection, actor_of(request), "delete", f"feedback {id}", {})
        else:
            raise NotFound(f"There is no feedback with the id '{id[:80]}'. List the ids with GET /v1/feedback.")


def _box(request: Request) -> FeedbackBox:
    database_of(request)
    box: FeedbackBox = request.app.state.service.feedback
    return box


def _sender(request: Request) -> Sender:
    call = call_of(request)
    return Sender(call.customer, call.key, request.app.state.access.administers(request))


def _info(one: Feedback) -> FeedbackInfo:
    return FeedbackInfo(**{name: value for name, value in asdict(one).items() if name in FeedbackInfo.model_fields}, usable=one.usable)


def _jsonl(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a JSON Lines file."""
    return (as_json(row) + "\n" for row in rows)


_WRITERS = {"application/x-ndjson": _jsonl, "text/csv": csv_lines}
"""By its media type, the function that yields the lines of a file."""
