"""`/v1/verticals/{name}/predict` and `/v1/predict`: records in, answers out; knows nothing of how they are made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.errors import DataError, NotFound
from vertune.core.records import Answer
from vertune.runtime.fleet import Deployment
from vertune.server import problems
from vertune.server.answering import Asker, answered, characters
from vertune.server.route import Plain, TooLarge, json

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
MOST = 100_000
"""Entries of any list, before it is known how many a request may have: the first one that is wrong ends it, because a body of
millions would else become as many errors, in seconds and gigabytes."""
Texts = Annotated[list[str], Field(min_length=1, max_length=MOST, fail_fast=True)]
router = APIRouter(route_class=Plain, tags=["answers"])
_OTHERS = 100
"""Fields that nobody reads, and that an error may name, because they may be misspelt; a table of all of them takes gigabytes."""
_LARGE = 1 << 63
"""Whole numbers from here on are in no table."""
REFUSALS = problems.documented(401, 403, 404, 413, 415, 422, 429, 500, 503, 507)
DEADLINE = {
    "parameters": [
        {
            "name": "X-Deadline-Ms", "in": "header", "required": False, "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "How many milliseconds the answer may take; the server allows no more than its own deadline.",
        }
    ]
}  # fmt: skip


def _strict(example: dict[str, Any]) -> ConfigDict:
    """A body without other fields; these are refused together, and not one error each."""
    return ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False, "examples": [example]})


class Asked(BaseModel):
    """What is to be answered: texts, or records with the fields that the vertical's task reads."""

    model_config = _strict({"texts": ["I lost my card"]})

    texts: Texts | None = None
    """Texts, for tasks that read one text."""
    records: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST, fail_fast=True)] | None = None
    """Records, such as `{"text": …, "text_pair": …}`; fields may bear the names that the training data had."""

    @model_validator(mode="after")
    def _one(self) -> Asked:
        if (self.texts is None) == (self.records is None):
            raise ValueError("give either 'texts' or 'records'")
        if self.model_extra:
            raise ValueError("a field came that is not known here")
        return self

    def rows(self, served: Sequence[Deployment]) -> Sequence[Mapping[str, Any]]:
        """The records for these verticals, with what any of them reads; DataError for texts where the first reads more than one."""
        if self.records is not None:
            read = {name for one in served for name in _read(one)}
            others = set(islice(dict.fromkeys(name for record in self.records for name in record if name not in read), _OTHERS))
            return [_plain(record, place, (read, others)) for place, record in enumerate(self.records, 1)]
        first = served[0]
        inputs = [column for column in first.task.columns if column.role == "input"]
        needed = [column.name for column in inputs if column.required]
        if len(needed) > 1:
            raise DataError(
                f"'{first.name}' reads {' and '.join(needed)}. Send records: [{{{', '.join(f'{name}: …' for name in needed)}}}]."
            )
        return [{inputs[0].name: text} for text in self.texts or ()]


class AskedOfMany(Asked):
    """The same of several verticals at once."""

    model_config = _strict({"verticals": ["intent", "mood"], "texts": ["I lost my card"]})

    verticals: Annotated[list[Name], Field(min_length=1, max_length=MOST, fail_fast=True)]


class Answers(BaseModel):
    """One answer a record, in order; what is in an answer depends on the vertical's task."""

    vertical: str
    model: str
    """The id of the model that answered."""
    answers: list[dict[str, Any]]


class AnswersOfMany(BaseModel):
    """The answers of each vertical, in the order that they were named."""

    results: list[Answers]


@router.post("/v1/verticals/{name}/predict", response_model=Answers, responses=REFUSALS, operation_id="predict", openapi_extra=DEADLINE)
async def predict(name: str, body: Asked, request: Request) -> Response:
    """Answer texts or records with one vertical."""
    asker, served = admitted(request, [name])
    answers, _ = await ask(request, "predict", (asker, served), body)
    return json(_told(served[0], answers[0]))


@router.post("/v1/predict", response_model=AnswersOfMany, responses=REFUSALS, operation_id="predict_with_many", openapi_extra=DEADLINE)
async def predict_with_many(body: AskedOfMany, request: Request) -> Response:
    """Answer texts or records with several verticals; layers that they share run once."""
    asker, served = admitted(request, list(dict.fromkeys(body.verticals)))
    answers, _ = await ask(request, "predict_with_many", (asker, served), body)
    return json({"results": [_told(one, own) for one, own in zip(served, answers, strict=True)]})


def admitted(request: Request, names: Sequence[str]) -> tuple[str, list[Deployment]]:
    """The name under which a request counts, and the verticals that it asks; AccessError, Busy, NotFound."""
    state = request.app.state
    customer: str = state.access.asker(request, "predict", tuple(names))
    try:
        return customer, [state.service.fleet.get(name) for name in names]
    except NotFound as error:
        if state.access.sees(request):
            raise
        raise NotFound(
            f"{', '.join(names)[:200]}: not all that this key is for is served here now."
        ) from error  # which else is, is not its


async def ask(request: Request, resource: str, admitted: tuple[str, list[Deployment]], body: Asked) -> tuple[list[list[Answer]], int]:
    """The answers of each vertical to an asker who was admitted, and the tokens that were computed; counted and timed as `resource`."""
    started = time.perf_counter()
    customer, served = admitted
    service, limits = request.app.state.service, request.app.state.limits
    number = len(body.texts or body.records or ()) * len(served)
    if number > limits.items:
        raise TooLarge(f"A request holds at most {limits.items} records times verticals; this one has {number}. Send it in parts.")
    rows = body.rows(served)
    _check_length(rows, limits.characters)
    asker = Asker(customer, deadline(request, limits.deadline), lambda: _gone(request))
    answers = await answered(service, served, rows, asker)
    service.measures.request(resource, 200, time.perf_counter() - started)
    return answers, asker.tokens


def deadline(request: Request, most: float) -> float:
    """Seconds that the answer may take: what the request says, and no more than the server allows."""
    said = request.headers.get("x-deadline-ms")
    if said is None:
        return most
    try:
        asked = float(said) / 1000
    except ValueError:
        asked = -1.0
    if not 0 < asked < float("inf"):
        raise DataError(f"X-Deadline-Ms is a number of milliseconds above 0; got {said[:20]!r}.")
    return min(asked, most)


def _read(served: Deployment) -> set[str]:
    """What the columns may be called in which a vertical finds its texts."""
    inputs = {column.name for column in served.task.columns if column.role == "input"}
    named = [value for name, value in served.predictor.fields.items() if name in inputs]
    return inputs.union(*([value] if isinstance(value, str) else value for value in named))


def _plain(record: Mapping[str, Any], place: int, fields: tuple[Set[str], Set[str]]) -> Mapping[str, Any]:
    """A record that goes into a table: fields that are read, and others by name; DataError for lists and the like in the former."""
    read, others = fields
    for key in read:
        value = record.get(key)
        if isinstance(value, list | dict) or (isinstance(value, int) and abs(value) >= _LARGE):
            raise DataError(f"'{key}' of record {place} is to be a text or a number, and is neither. Send a text.")
    return {key: value if key in read else None for key, value in record.items() if key in read or key in others}


def _check_length(rows: Sequence[Mapping[str, Any]], most: int) -> None:
    for place, row in enumerate(rows, 1):
        for value in row.values():
            if characters(value) > most:
                raise TooLarge(f"A text has at most {most} characters; one of record {place} has {characters(value)}. Cut it.")


async def _gone(request: Request) -> None:
    """End when the asker's connection does."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _told(served: Deployment, answers: list[Answer]) -> dict[str, Any]:
    return {"vertical": served.name, "model": served.model.id, "answers": answers}
