"""`/v1/verticals`: which there are, their versions and cards; which model each serves can be changed by an admin."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.artifact import check_name
from vertune.core.errors import ConfigError, NotFound
from vertune.runtime.fleet import Deployment
from vertune.server import problems
from vertune.server.predict import admitted
from vertune.server.route import Plain, json
from vertune.server.service import Service

router = APIRouter(route_class=Plain, tags=["verticals"])
_REFUSALS = problems.documented(401, 403, 429, 500, 503, 507)
_OF_ONE = problems.documented(401, 403, 404, 429, 500, 503, 507)


class Vertical(BaseModel):
    """One vertical as it is served."""

    name: str
    model: str | None
    """The id of the model that answers now; null where none does yet."""
    task: str | None
    precision: str | None
    why: str | None
    """Why in this precision."""
    shared: bool | None
    """Whether it stands on a backbone that others use too."""
    fields: dict[str, str] | None
    """What a record holds."""
    labels: list[str] | None
    coming: dict[str, str] | None
    """The live model, where it is not the one that answers, and what keeps it."""


class Verticals(BaseModel):
    """All that the asker's key may see."""

    verticals: list[Vertical]


class Version(BaseModel):
    """One model of a vertical."""

    model: str
    created: str | None
    metrics: dict[str, Any]
    live: bool


class Versions(BaseModel):
    """All models of a vertical in this home, oldest first."""

    versions: list[Version]


class Card(BaseModel):
    """What a model is for, what it learnt from, how good it is."""

    vertical: str
    card: str
    """Markdown."""


class Chosen(BaseModel):
    """Which model shall be live."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=120, pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    """A model's id."""


@router.get("/v1/verticals", response_model=Verticals, responses=_REFUSALS, operation_id="verticals")
async def verticals(request: Request) -> Response:
    """All verticals that the key may see."""
    state = request.app.state
    state.access.asker(request, "predict")
    service: Service = state.service
    names = sorted({*service.fleet.deployments, *service.coming})
    return json({"verticals": [_told(service, name) for name in names if state.access.sees(request, name)]})


@router.get("/v1/verticals/{name}", response_model=Vertical, responses=_OF_ONE, operation_id="vertical")
async def vertical(name: str, request: Request) -> Response:
    """One vertical."""
    return json(_told(_allowed(request, name), name))


@router.get("/v1/verticals/{name}/versions", response_model=Versions, responses=_OF_ONE, operation_id="versions")
async def versions(name: str, request: Request) -> Response:
    """The models of one vertical."""
    service = _allowed(request, name)
    live = service.fleet.deployments[name].model.id if name in service.fleet.deployments else None
    return json({"versions": await run_in_threadpool(_versions, service, name, live)})


@router.get("/v1/verticals/{name}/card", response_model=Card, responses=_OF_ONE, operation_id="card")
async def card(name: str, request: Request) -> Response:
    """The card of the model that answers."""
    served = _allowed(request, name).fleet.get(name)
    file = served.model.folder / "README.md"
    text = await run_in_threadpool(file.read_text, "utf-8") if file.exists() else ""
    return json({"vertical": name, "card": text})


@router.put(
    "/v1/verticals/{name}", response_model=Vertical, status_code=202, operation_id="choose",
    responses=problems.documented(401, 403, 404, 413, 415, 422, 429, 500, 503, 507),
)  # fmt: skip
async def choose(name: str, body: Chosen, request: Request) -> Response:
    """Make a model of the home live; it answers as soon as it is in memory, and until then the one before does."""
    state = request.app.state
    state.access.asker(request, "admin")
    service: Service = state.service
    _check_served(service, name)
    known = {model.id for model in await run_in_threadpool(service.home.shelf, "models")}
    if body.model not in known:
        raise NotFound(f"There is no model '{body.model}' in this home. The command `vertune list models` lists them.")
    await run_in_threadpool(service.home.alias, f"{name}@live", body.model)
    await run_in_threadpool(service.look)
    return json(_told(service, name), 202)


@router.delete(
    "/v1/verticals/{name}", status_code=204, operation_id="retire", responses=problems.documented(401, 403, 404, 422, 429, 500, 503, 507)
)
async def retire(name: str, request: Request) -> Response:
    """Serve a vertical no longer; its models stay."""
    state = request.app.state
    state.access.asker(request, "admin")
    service: Service = state.service
    _check_served(service, name)
    try:
        check_name(name)
        await run_in_threadpool(service.home.unalias, f"{name}@live")
    except (ConfigError, NotFound) as error:
        raise NotFound(f"No vertical '{name[:80]}' is live here.") from error
    await run_in_threadpool(service.look)
    return Response(status_code=204)


def _check_served(service: Service, name: str) -> None:
    """NotFound for a vertical that this server was told to leave to others."""
    if not service.serves(name):
        raise NotFound(f"This server answers for {', '.join(sorted(service.only))} alone. Ask one that serves '{name}'.")


def _allowed(request: Request, name: str) -> Service:
    """The service, for an asker who may ask this vertical; NotFound where there is none of this name."""
    service: Service = request.app.state.service
    if name in service.coming:
        request.app.state.access.asker(request, "predict", (name,))
    else:
        admitted(request, [name])
    return service


def _told(service: Service, name: str) -> dict[str, Any]:
    served: Deployment | None = service.fleet.deployments.get(name)
    coming = service.coming.get(name)
    said: dict[str, Any] = dict.fromkeys(Vertical.model_fields)
    if served is not None:
        fields = {column.name: column.about for column in served.task.columns if column.role == "input"}
        labels = list(getattr(served.task, "labels", ())) or None
        said |= {"model": served.model.id, "task": served.task.name, "precision": served.precision, "why": served.why}
        said |= {"shared": served.shared is not None, "fields": fields, "labels": labels}
    return {**said, "name": name, "coming": {"model": coming.model, "state": coming.state} if coming else None}


def _versions(service: Service, name: str, live: str | None) -> list[dict[str, Any]]:
    found = [(model, model.manifest_or_empty) for model in service.home.shelf("models")]
    return [
        {"model": model.id, "created": told.get("created"), "metrics": told.get("metrics") or {}, "live": model.id == live}
        for model, told in found
        if told.get("name") == name or model.id == live
    ]
