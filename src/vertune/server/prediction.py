"""What the resources that answer records share: their body, its limits, the deadline; knows nothing of how answers are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from vertune.answering.service import count_characters
from vertune.core.errors import DataError, NotFound
from vertune.core.records import Answer
from vertune.data.validate import records_of_texts, select_fields
from vertune.runtime.fleet import Deployment
from vertune.server.access import call_of
from vertune.server.body import TooLarge

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
MAX_ENTRIES = 100_000
"""Entries of any list in a body. Parsing stops at the first wrong one: a body of millions would become as many errors, in gigabytes."""
Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True)]
DEADLINE = {
    "parameters": [
        {
            "name": "X-Deadline-Ms", "in": "header", "required": False, "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "How many milliseconds the answer may take; the server allows no more than its own deadline.",
        }
    ]
}  # fmt: skip
"""The header that `answer` reads, for the OpenAPI document."""


class PredictRequest(BaseModel):
    """What to answer: texts, or records with the fields that the vertical's task reads."""

    # pydantic would collect one error for each unknown field; they are allowed here and refused together below
    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False, "examples": [{"texts": ["I lost my card"]}]})

    texts: Texts | None = None
    """Texts, for tasks that read one text."""
    records: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True)] | None = None
    """Records, such as `{"text": …, "text_pair": …}`; fields may have the names that they had in the training data."""

    @model_validator(mode="after")
    def _check(self) -> PredictRequest:
        if (self.texts is None) == (self.records is None):
            raise ValueError("give either 'texts' or 'records'")
        if self.model_extra:
            raise ValueError("the request has an unknown field")
        return self

    def rows(self, deployments: Sequence[Deployment]) -> Sequence[Mapping[str, Any]]:
        """The records for these verticals; DataError for texts where the first vertical reads more than one field."""
        if self.records is not None:
            return select_fields([deployment.predictor for deployment in deployments], self.records)
        return records_of_texts(deployments[0].task, deployments[0].name, self.texts or ())


def find_deployments(request: Request, names: Sequence[str]) -> list[Deployment]:
    """The deployments of these verticals; NotFound, which lists the served verticals only to a key that may see all."""
    state = request.app.state
    try:
        return [state.service.answers.fleet.get(name) for name in names]
    except NotFound as error:
        if state.access.sees(request):
            raise
        raise NotFound(f"Not all of {', '.join(names)[:200]} are served here now. Ask the operator of the server.") from error


async def answer(request: Request, resource: str, deployments: Sequence[Deployment], body: PredictRequest) -> list[list[Answer]]:
    """For each vertical one answer a record, within the limits of the server and the deadline of the request."""
    state = request.app.state
    number = len(body.texts or body.records or ()) * len(deployments)
    if number > state.limits.items:
        raise TooLarge(
            f"The request asks for {number} answers; at most {state.limits.items} records times verticals are allowed. Send it in parts."
        )
    call = call_of(request)
    call.resource, call.verticals, call.records = resource, deployments, body.rows(deployments)
    _check_length(call.records, state.limits.characters)
    call.deadline = _deadline(request, state.limits.deadline)
    call.disconnected = lambda: _disconnected(request)
    try:
        answers: list[list[Answer]] = await state.service.answers.answer(call)
    finally:
        call.disconnected = None  # it holds the request, which holds the call: a cycle would outlive the request until it is collected
    return answers


def _deadline(request: Request, limit: float) -> float:
    """Seconds that the answer may take: what the request's header says, and no more than the limit."""
    header = request.headers.get("x-deadline-ms")
    if header is None:
        return limit
    try:
        seconds = float(header) / 1000
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise DataError(f"The header X-Deadline-Ms is {header[:20]!r}, but must be a number of milliseconds above 0. Correct it.")
    return min(seconds, limit)


def _check_length(records: Sequence[Mapping[str, Any]], limit: int) -> None:
    for number, record in enumerate(records, 1):
        for value in record.values():
            if (size := count_characters(value)) > limit:
                raise TooLarge(f"A text of record {number} has {size} characters; at most {limit} are allowed. Cut it.")


async def _disconnected(request: Request) -> None:
    """Return when the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
