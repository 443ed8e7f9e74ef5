"""`/v1/embeddings`: converts texts to vectors, for the client libraries of OpenAI; does not depend on how vectors are computed."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.errors import ConfigError, DataError
from vertune.server import problems
from vertune.server.access import call_of
from vertune.server.body import json_response
from vertune.server.prediction import DEADLINE, Name, PredictRequest, Texts, answer, find_deployments
from vertune.server.resource import Resource

resource = Resource("answers")


class EmbeddingsRequest(BaseModel):
    """The texts to convert to vectors, and the name of the served model that computes the vectors."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"model": "search", "input": ["I lost my card"]}]})

    model: Name
    """The name under which the model is served; its task must be `embed`."""
    input: Annotated[str, Field(min_length=1)] | Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    """The number of dimensions of a vector; the only valid value is the dimension of the model."""
    user: str | None = None


class Embedding(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """A list of numbers, or little-endian float32 in base64."""


class TokenDetails(BaseModel):
    """How the tokens of a request were served."""

    cached_tokens: int
    """The number of tokens of texts whose vectors were cached, from an earlier request with the same key."""


class Usage(BaseModel):
    """The number of tokens of this request, including those of texts whose vectors were cached."""

    prompt_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails


class EmbeddingsResponse(BaseModel):
    """One vector per text, in order."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: Usage


@resource.direct_post(
    "/v1/embeddings", scope="predict", response_model=EmbeddingsResponse, responses=problems.documented(404, 409), openapi_extra=DEADLINE
)
async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """Convert texts to vectors of norm 1; the inner product of two vectors is the similarity of their texts."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    request.app.state.access.authorize(request, "predict", [body.model])
    (deployment,) = deployments = find_deployments(request, [body.model])
    if not deployment.task.gives_vectors:
        raise ConfigError(
            f"The model '{body.model}' does not return vectors: its task is {deployment.task.name}. "
            f"Call /v1/verticals/{body.model}/predict instead."
        )
    (answers,) = await answer(request, "embeddings", deployments, PredictRequest(texts=texts))
    size = len(answers[0]["vector"])
    if body.dimensions not in (None, size):
        raise DataError(
            f"`dimensions` is {body.dimensions}, but the vectors of the model '{body.model}' have {size} numbers. Leave `dimensions` out."
        )
    encode = _base64 if body.encoding_format == "base64" else list
    data = [{"object": "embedding", "index": index, "embedding": encode(answer["vector"])} for index, answer in enumerate(answers)]
    call = call_of(request)
    details = {"cached_tokens": call.cached_tokens}
    usage = {"prompt_tokens": call.tokens, "total_tokens": call.tokens, "prompt_tokens_details": details}
    return json_response({"object": "list", "model": body.model, "data": data, "usage": usage})


def _base64(vector: list[float]) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
