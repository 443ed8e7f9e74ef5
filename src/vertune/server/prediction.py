"""What all prediction endpoints share: request body, limits and deadline; does not depend on how predictions are computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from vertune.answering.call import Call
from vertune.core.errors import Busy, Conflict, DataError, NotFound
from vertune.core.records import Answer
from vertune.data.validate import records_of_texts, select_fields
from vertune.runtime.fleet import Deployment
from vertune.runtime.predictor import Predictor
from vertune.server.access import call_of
from vertune.server.body import TooLarge, check_length

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[\p{L}\p{N}][\p{L}\p{M}\p{N}_.-]*$")]
MAX_ENTRIES = 100_000
"""The maximum length of any list in a body. Parsing stops at the first invalid entry, because one error per entry could take gigabytes."""
_UNREADY_SECONDS = 5.0
"""Seconds after which clients should repeat a request to a model that is not ready yet."""
Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True)]
_LONGEST_KEY = 200
"""Maximum length of an idempotency key."""
_REFUSED_TYPES: dict[str, tuple[type, ...]] = {"text": (int, float), "number": (bool,)}
"""For each type of field, the Python types of JSON values that it does not accept; a text may contain a number, as in a CSV file."""
DEADLINE = {
    "parameters": [
        {
            "name": "X-Deadline-Ms", "in": "header", "required": False, "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "Maximum number of milliseconds until the response; larger values than the limit of the server have no effect.",
        },
        {
            "name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            "description": "A repeated request with the same key is answered again, and counted once.",
        },
        {
            "name": "X-Sticky-Key", "in": "header", "required": False, "schema": {"type": "string", "maxLength": 200},
            "description": "A customer or a conversation: while a candidate is compared with a live model, the same of the two answers all "
            "requests with this value.",
        },
    ]
}  # fmt: skip
"""The OpenAPI description of the request header that sets the deadline of a prediction."""


class PredictRequest(BaseModel):
    """The inputs of a prediction: either texts, or records with the input fields of the model."""

    # pydantic would collect one error per unknown field; they are allowed here and refused together below
    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False, "examples": [{"texts": ["I lost my card"]}]})

    texts: Texts | None = None
    """Texts, for tasks whose records have a single text field."""
    records: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True)] | None = None
    """Records, such as `{"text": …, "text_pair": …}`; the fields may also have the names of the columns in the training data."""

    @model_validator(mode="after")
    def _check(self) -> PredictRequest:
        if (self.texts is None) == (self.records is None):
            raise ValueError("expected exactly one of the fields 'texts' and 'records'")
        if self.model_extra:
            raise ValueError("the request contains an unknown field")
        return self

    def rows(self, deployments: Sequence[Deployment]) -> Sequence[Mapping[str, Any]]:
        """Return the inputs as records, reduced to the fields that these models read; each text becomes a record.

        A text becomes the first input field of the first model. Raises DataError if that model needs more than one field, or if the
        value of a field has the wrong type.
        """
        if self.records is not None:
            selected = select_fields([deployment.predictor for deployment in deployments], self.records)
            for deployment in deployments:
                _check_types(deployment.predictor, selected)
            return selected
        return records_of_texts(deployments[0].task, deployments[0].name, self.texts or ())


def find_deployments(request: Request, names: Sequence[str]) -> list[Deployment]:
    """Return the deployment (a served model with its name) for each of these names.

    Raises Busy if a model is to be served under each of the names, but not all of them are ready. Raises NotFound if no model is served
    under one of the names; the message lists the names that are served only if the API key of the request may see all models.
    """
    state = request.app.state
    fleet, pending = state.service.answers.fleet, state.service.aliases.pending
    try:
        return [fleet.get(name) for name in names]
    except NotFound as error:
        unready = [name for name in names if name not in fleet.deployments]
        if all(name in pending for name in unready):
            call_of(request).refusal = "unready"
            raise Busy(
                f"The model of '{unready[0]}' is not ready: its state is '{pending[unready[0]].state}'. Retry in {_UNREADY_SECONDS:g} s.",
                _UNREADY_SECONDS,
            ) from error
        if state.access.sees(request):
            raise
        raise NotFound(
            f"At least one of these names has no served model: {', '.join(names)[:200]}. Ask the operator of the server for valid names."
        ) from error


def routed(request: Request, deployments: list[Deployment], body: PredictRequest) -> list[Deployment]:
    """Return the models that answer a request: for each vertical the live one, or its candidate if a canary takes the request.

    Requests with the same header X-Sticky-Key, which may name a customer or a conversation, are answered by the same model.
    """
    rollouts = request.app.state.service.rollouts
    if rollouts is None or not rollouts.comparisons:
        return deployments
    key = request.headers.get("x-sticky-key")
    return [rollouts.route(one, key, body.texts or body.records) for one in deployments]


async def answer(request: Request, resource: str, deployments: Sequence[Deployment], body: PredictRequest) -> list[list[Answer]]:
    """Compute and return one list of answers per deployment (served model), with one answer for each input of a request.

    `resource` is the name of the endpoint in the metrics. Raises TooLarge if the request exceeds the limits of the server, DataError
    for invalid records, and Busy if the queue is full or the deadline can't be met.
    """
    state = request.app.state
    state.access.check_quota(request, [deployment.name for deployment in deployments])
    number = len(body.texts or body.records or ()) * len(deployments)
    if number > state.limits.items:
        raise TooLarge(
            f"The request needs {number} predictions; at most {state.limits.items} records times models are allowed. "
            "Divide it into several requests."
        )
    call = call_of(request)
    _mark_repetition(request, call, [deployment.name for deployment in deployments], body)
    call.resource, call.verticals, call.records = resource, deployments, body.rows(deployments)
    check_length(call.records, state.limits.characters)
    call.deadline = _deadline(request, state.limits.deadline)
    call.disconnected = lambda: _disconnected(request)
    try:
        with state.access.running(request, len(deployments), number):
            answers: list[list[Answer]] = await state.service.answers.answer(call)
    finally:
        call.disconnected = None  # breaks the reference cycle of call and request, so that no garbage collection is needed
    return answers


def _mark_repetition(request: Request, call: Call, names: Sequence[str], body: PredictRequest) -> None:
    """Give a repeated request, which has the same header Idempotency-Key, the id of the first one, so that it is counted once.

    The mark of the call contains what was asked of which verticals, because another server, or this one later, does not know the first
    request: a key that comes again with other content must be counted again. Raises DataError for a key of more than 200 characters, and
    Conflict if the key was used for another request.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return
    if not 0 < len(key) <= _LONGEST_KEY:
        raise DataError(f"The header Idempotency-Key has {len(key)} characters; expected 1 to {_LONGEST_KEY}. Shorten it.")
    asked = repr((request.url.path, names, body.texts, body.records)).encode("utf-8", "surrogatepass")
    content = hashlib.blake2b(asked, digest_size=16).hexdigest()
    first = request.app.state.service.repeated.setdefault((call.customer, key), (call.id, content))
    if first[1] != content:
        raise Conflict("The header Idempotency-Key was used for another request. Send a new key with a new request.")
    call.id, call.idempotency = first[0], f"{content} {key}"


def _deadline(request: Request, limit: float) -> float:
    """Return the seconds within which a request must be answered: the value of its header X-Deadline-Ms, but at most `limit`.

    Without this header, returns `limit`. Raises DataError if its value is not a finite number of milliseconds above 0.
    """
    header = request.headers.get("x-deadline-ms")
    if header is None:
        return limit
    try:
        seconds = float(header) / 1000
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise DataError(f"The header X-Deadline-Ms is {header[:20]!r}; expected a number of milliseconds above 0. Correct it.")
    return min(seconds, limit)


def _check_types(predictor: Predictor, records: Sequence[Mapping[str, Any]]) -> None:
    """Raise DataError if a text field contains a number, true or false, or if a number field contains true or false.

    A text field that is joined from several columns is not checked, because these columns may contain numbers. A category may be a
    number, true or false.
    """
    kinds: dict[str, tuple[type, ...]] = {}
    for column in predictor.task.input_columns:
        source = predictor.fields.get(column.name, column.name)
        if isinstance(source, str) and column.type in _REFUSED_TYPES:
            kinds |= dict.fromkeys((source, column.name), _REFUSED_TYPES[column.type])
    for number, record in enumerate(records, 1):
        for name, refused in kinds.items():
            if isinstance(value := record.get(name), refused):
                what = "true or false" if isinstance(value, bool) else "a number"
                expected, form = ("a text", "string, which is written in quotes") if int in refused else ("a number", "number")
                raise DataError(f"The field '{name}' of record {number} is {what}; expected {expected}. Send a JSON {form}.")


async def _disconnected(request: Request) -> None:
    """Wait until the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
