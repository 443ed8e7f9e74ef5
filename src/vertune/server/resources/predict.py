"""`/v1/verticals/{vertical}/predict` and `/v1/predict`: predictions for texts or records; does not depend on how they are computed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.records import Answer
from vertune.runtime.fleet import Deployment
from vertune.server import problems
from vertune.server.access import call_of
from vertune.server.body import json_response
from vertune.server.prediction import DEADLINE, MAX_ENTRIES, Name, PredictRequest, answer, find_deployments, routed
from vertune.server.resource import Resource
from vertune.store.traffic import answer_id

resource = Resource("answers")


class MultiPredictRequest(PredictRequest):
    """The inputs of a prediction, and the names of the served models that predict."""

    verticals: Annotated[list[Name], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True, examples=[["intent", "mood"]])]


class PredictResponse(BaseModel):
    """The predictions of one model: one answer per input, in order. The fields of an answer depend on the task of the model."""

    vertical: str
    model: str
    """The id of the model that made the predictions."""
    answers: list[dict[str, Any]]
    ids: list[str]
    """The id of each answer, by which feedback can name it."""


class MultiPredictResponse(BaseModel):
    """The predictions of each model, in the order in which the request names the models."""

    results: list[PredictResponse]


@resource.direct_post(
    "/v1/verticals/{vertical}/predict",
    scope="predict",
    response_model=PredictResponse,
    responses=problems.documented(409),
    openapi_extra=DEADLINE,
)
async def predict(vertical: str, body: PredictRequest, request: Request) -> Response:
    """Return one prediction per text or record, made by the model that is served under the name in the path."""
    (deployment,) = deployments = routed(request, find_deployments(request, [vertical]), body)
    (answers,) = await answer(request, "predict", deployments, body)
    return json_response(_described(deployment, answers, call_of(request).id))


@resource.direct_post(
    "/v1/predict", scope="predict", response_model=MultiPredictResponse, responses=problems.documented(404, 409), openapi_extra=DEADLINE
)
async def predict_with_many(body: MultiPredictRequest, request: Request) -> Response:
    """Return the predictions of several models for the same texts or records. Layers that the models share are computed once."""
    names = list(dict.fromkeys(body.verticals))
    request.app.state.access.authorize(request, "predict", names)
    deployments = routed(request, find_deployments(request, names), body)
    results = await answer(request, "predict_with_many", deployments, body)
    id, count = call_of(request).id, len(results[0])
    described = [_described(one, results[place], id, place * count) for place, one in enumerate(deployments)]
    return json_response({"results": described})


def _described(deployment: Deployment, answers: list[Answer], request: str, first: int = 0) -> dict[str, Any]:
    """Return the answers of one model; `first` is the number of the first one among all answers of the request."""
    ids = [answer_id(request, number) for number in range(first, first + len(answers))]
    return {"vertical": deployment.name, "model": deployment.model.id, "answers": answers, "ids": ids}
