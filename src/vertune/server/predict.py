"""`/v1/verticals/{name}/predict` and `/v1/predict`: records in, answers out; knows nothing of how they are made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.errors import DataError
from vertune.core.records import Answer
from vertune.runtime.fleet import Served
from vertune.server import problems
from vertune.server.answering import answered
from vertune.server.route import Plain, TooLarge, json

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
router = APIRouter(route_class=Plain, tags=["answers"])
REFUSALS = problems.documented(401, 403, 404, 413, 415, 422, 429, 500, 503)


class Asked(BaseModel):
    """What is to be answered: texts, or records with the fields that the vertical's task reads."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"texts": ["I lost my card"]}]})

    texts: list[str] | None = Field(default=None, min_length=1)
    """Texts, for tasks that read one text."""
    records: list[dict[str, Any]] | None = Field(default=None, min_length=1)
    """Records, such as `{"text": …, "text_pair": …}`; fields may bear the names that the training data had."""

    @model_validator(mode="after")
    def _one(self) -> Asked:
        if (self.texts is None) == (self.records is None):
            raise ValueError("give either 'texts' or 'records'")
        return self

    def rows(self, served: Served) -> Sequence[Mapping[str, Any]]:
        """The records; DataError for texts where the task reads more than one."""
        if self.records is not None:
            return self.records
        inputs = [column.name for column in served.task.columns if column.role == "input"]
        needed = [column.name for column in served.task.columns if column.role == "input" and column.required]
        if len(needed) > 1:
            raise DataError(
                f"'{served.name}' reads {' and '.join(needed)}. Send records: [{{{', '.join(f'{name}: …' for name in needed)}}}]."
            )
        return [{inputs[0]: text} for text in self.texts or ()]


class AskedOfMany(Asked):
    """The same of several verticals at once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"verticals": ["intent", "mood"], "texts": ["I lost my card"]}]})

    verticals: list[Name] = Field(min_length=1)


class Answers(BaseModel):
    """One answer a record, in order; what is in an answer depends on the vertical's task."""

    vertical: str
    model: str
    """The id of the model that answered."""
    answers: list[dict[str, Any]]


class AnswersOfMany(BaseModel):
    """The answers of each vertical, in the order that they were named."""

    results: list[Answers]


@router.post("/v1/verticals/{name}/predict", response_model=Answers, responses=REFUSALS, operation_id="predict")
async def predict(name: str, body: Asked, request: Request) -> Response:
    """Answer texts or records with one vertical.

    The header `X-Deadline-Ms` says how many milliseconds the answer may take.
    """
    served, answers = await ask(request, "predict", [name], body)
    return json(_told(served[0], answers[0]))


@router.post("/v1/predict", response_model=AnswersOfMany, responses=REFUSALS, operation_id="predict_with_many")
async def predict_with_many(body: AskedOfMany, request: Request) -> Response:
    """Answer texts or records with several verticals; layers that they share run once."""
    served, answers = await ask(request, "predict_with_many", list(dict.fromkeys(body.verticals)), body)
    return json({"results": [_told(one, own) for one, own in zip(served, answers, strict=True)]})


async def ask(request: Request, resource: str, names: Sequence[str], body: Asked) -> tuple[list[Served], list[list[Answer]]]:
    """The verticals and their answers, for an asker who may; counted and timed as `resource`."""
    started = time.perf_counter()
    state = request.app.state
    service, limits = state.service, state.limits
    customer = state.access.asker(request, "predict", tuple(names))
    served = [service.fleet.get(name) for name in names]
    number = len(body.texts or body.records or ()) * len(served)
    if number > limits.items:
        raise TooLarge(f"A request holds at most {limits.items} records times verticals; this one has {number}. Send it in parts.")
    rows = body.rows(served[0])
    _check_length(rows, limits.characters)
    answers = await answered(service, served, rows, (customer, deadline(request, limits.deadline)), lambda: _gone(request))
    service.measures.request(resource, 200, time.perf_counter() - started)
    return served, answers


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


def _check_length(rows: Sequence[Mapping[str, Any]], most: int) -> None:
    for place, row in enumerate(rows, 1):
        for key, value in row.items():
            if isinstance(value, str) and len(value) > most:
                raise TooLarge(f"A text has at most {most} characters; {key} of record {place} has {len(value)}. Cut it.")


async def _gone(request: Request) -> None:
    """End when the asker's connection does."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _told(served: Served, answers: list[Answer]) -> dict[str, Any]:
    return {"vertical": served.name, "model": served.model.id, "answers": answers}
