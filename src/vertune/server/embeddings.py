"""`/v1/embeddings`: vectors of texts, in the shape that clients of OpenAI know; knows nothing of how they are made."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.errors import ConfigError, DataError
from vertune.server.predict import DEADLINE, REFUSALS, Asked, Name, Texts, admitted, ask
from vertune.server.route import Plain, json

router = APIRouter(route_class=Plain, tags=["answers"])


class Wanted(BaseModel):
    """Texts whose vectors are wanted."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"model": "search", "input": ["I lost my card"]}]})

    model: Name
    """The vertical, whose task must be `embed`."""
    input: Annotated[str, Field(min_length=1)] | Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    """The size of a vector; only the model's own can be had."""
    user: str | None = None


class Vector(BaseModel):
    """One text's vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """Numbers, or little-endian float32 in base64."""


class Usage(BaseModel):
    """What was computed, in tokens; vectors that were kept cost none."""

    prompt_tokens: int
    total_tokens: int


class Vectors(BaseModel):
    """One vector a text, in order."""

    object: Literal["list"]
    model: str
    data: list[Vector]
    usage: Usage


@router.post("/v1/embeddings", response_model=Vectors, responses=REFUSALS, operation_id="embeddings", openapi_extra=DEADLINE)
async def embeddings(body: Wanted, request: Request) -> Response:
    """Vectors of length one, whose inner product says how alike texts are."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    asker, (served,) = admitted(request, [body.model])
    if not served.task.gives_vectors:
        raise ConfigError(f"'{body.model}' gives no vectors: its task is {served.task.name}. Ask /v1/verticals/{body.model}/predict.")
    (answers,), tokens = await ask(request, "embeddings", (asker, [served]), Asked(texts=texts))
    size = len(answers[0]["vector"])
    if body.dimensions not in (None, size):
        raise DataError(f"Vectors of '{body.model}' have {size} numbers; {body.dimensions} were asked for. Leave dimensions out.")
    coded = body.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": place, "embedding": _coded(answer["vector"]) if coded else answer["vector"]}
        for place, answer in enumerate(answers)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json({"object": "list", "model": body.model, "data": data, "usage": usage})


def _coded(vector: list[float]) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
