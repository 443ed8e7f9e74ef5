"""The request body, limits and deadline of all endpoints that predict; does not depend on how predictions are computed."""

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
"""The maximum length of any list in a body. Parsing stops at the first invalid entry, because one error per entry could take gigabytes."""
Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True)]
DEADLINE = {
    "parameters": [
        {
            "name": "X-Deadline-Ms", "in": "header", "required": False, "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "Maximum number of milliseconds until the response; larger values than the limit of the server have no effect.",
        }
    ]
}  # fmt: skip
"""The OpenAPI description of the request header that sets the deadline of a prediction."""


class PredictRequest(BaseModel):
    """The inputs of a prediction: texts, or records with the input fields of the model."""

    # pydantic would collect one error per unknown field; they are allowed here and refused together below
    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False, "examples": [{"texts": ["I lost my card"]}]})

    texts: Texts | None = None
    """Texts, for tasks whose records have a single text field."""
    records: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True)] | None = None
    """Records, such as `{"text": …, "text_pair": …}`; the fields may also have the names of the columns in the training data."""

    @model_validator(mode="after")
    def _check(self) -> PredictRequest:
        if (self.texts is None) == (self.records is None):
            raise ValueError("expected either 'texts' or 'records', but not both")
        if self.model_extra:
            raise ValueError("the request contains an unknown field")
        return self

    def rows(self, deployments: Sequence[Deployment]) -> Sequence[Mapping[str, Any]]:
        """Return the inputs as records for these models; each text becomes one record.

        Raises DataError if the inputs are texts and the first model needs more than one input field.
        """
        if self.records is not None:
            return select_fields([deployment.predictor for deployment in deployments], self.records)
        return records_of_texts(deployments[0].task, deployments[0].name, self.texts or ())


def find_deployments(request: Request, names: Sequence[str]) -> list[Deployment]:
    """Return the deployment (the served model) of each of these names.

    Raises NotFound if nothing is served under one of the names; the message lists the served verticals only
    to a key that may see all of them.
    """
    state = request.app.state
    try:
        return [state.service.answers.fleet.get(name) for name in names]
    except NotFound as error:
        if state.access.sees(request):
            raise
        raise NotFound(
            f"Not all of these verticals are served here now: {', '.join(names)[:200]}. Ask the operator of the server for valid names."
        ) from error


async def answer(request: Request, resource: str, deployments: Sequence[Deployment], body: PredictRequest) -> list[list[Answer]]:
    """Compute the predictions of each deployment (served model) for a request; return a list per deployment, with one answer per record.

    Raises TooLarge if the request exceeds the limits of the server, DataError for invalid records, and Busy if the deadline can't be met.
    """
    state = request.app.state
    number = len(body.texts or body.records or ()) * len(deployments)
    if number > state.limits.items:
        raise TooLarge(
            f"The request needs {number} predictions; at most {state.limits.items} records times verticals are allowed. Divide it."
        )
    call = call_of(request)
    call.resource, call.verticals, call.records = resource, deployments, body.rows(deployments)
    _check_length(call.records, state.limits.characters)
    call.deadline = _deadline(request, state.limits.deadline)
    call.disconnected = lambda: _disconnected(request)
    try:
        answers: list[list[Answer]] = await state.service.answers.answer(call)
    finally:
        call.disconnected = None  # breaks the reference cycle of call and request, so that no garbage collection is needed
    return answers


def _deadline(request: Request, limit: float) -> float:
    """Return the deadline in seconds: that of the header X-Deadline-Ms, but at most `limit` seconds, and `limit` without the header.

    Raises DataError if the value of the header is not a number of milliseconds above 0.
    """
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
                raise TooLarge(f"A text of record {number} has {size} characters; at most {limit} are allowed. Shorten it.")


async def _disconnected(request: Request) -> None:
    """Wait until the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
