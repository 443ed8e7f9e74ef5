"""`/v1/verticals`: lists and changes which model is served under which name; does not depend on how models are loaded."""

from __future__ import annotations

import time
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.artifact import Artifact, check_name
from vertune.core.errors import ConfigError, NotFound, StorageError
from vertune.core.regular import is_present, regular_file
from vertune.core.sentence import Language, stored, written, written_error
from vertune.evaluation.recorded import evaluations, intervals_by_split, metrics_by_split
from vertune.runtime.live import require_like_live
from vertune.server.prediction import find_deployments
from vertune.server.preparing import State
from vertune.server.resource import Resource
from vertune.server.service import Service
from vertune.server.stored import In, actor_of
from vertune.steps.deploy import Versions, is_prepared
from vertune.store.audit import note

resource = Resource("verticals")
_T = TypeVar("_T")
_CARD = "README.md"
_CARD_BYTES = 1 << 20
"""Maximum size of a model card in bytes."""


class PendingModel(BaseModel):
    """A model that is not served yet, although the alias NAME@live points to it."""

    model: str
    """The id of the model; empty if it is unknown, because the alias can't be read or points to a model that does not exist."""
    state: State
    """`loading`, `preparing`, `waiting` (until others are prepared), `failed` (the preparation, which is repeated later), or `damaged`."""
    why: str
    """The error that prevents serving, for administrators; empty for other API keys and if there is no error."""
    attempts: int
    """How often the model was tried to be prepared or loaded without success."""
    retry_seconds: float | None
    """Seconds until the next attempt; null if none is planned."""


class VerticalInfo(BaseModel):
    """One vertical (a named line of models, one of which is served), with the model that is served now."""

    name: str
    ready: bool = False
    """Whether a model answers requests under this name."""
    model: str | None = None
    """The id of the model that is served now; null if none is served yet."""
    task: str | None = None
    precision: str | None = None
    why: str | None = None
    """Why the model is served with this precision."""
    shared: bool | None = None
    """Whether the model runs on a backbone (a pretrained model in memory) that several verticals can share."""
    fields: dict[str, str] | None = None
    """The input fields of a record, with a description of each."""
    optional: list[str] | None = None
    """Which of these may be left out."""
    labels: list[str] | None = None
    fault: str | None = None
    """What is wrong with the outputs of the model that is served now; null if nothing is."""
    candidate: str | None = None
    """The id of the model that this server compares with it; see GET …/rollout."""
    coming: PendingModel | None = None
    """The live model if it is not served yet; null otherwise."""


class VerticalList(BaseModel):
    """The verticals (named lines of models, each with one that is served) that the API key of the request may see."""

    verticals: list[VerticalInfo]


class Version(BaseModel):
    """One model of a vertical (a named line of models, one of which is served)."""

    model: str
    created: str | None
    metrics: dict[str, Any]
    """The metrics by split: `test` if the model was evaluated on its test rows, and `validation`."""
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    """The ends of the interval of each metric that has one, by split."""
    method: str | None = None
    """The method with which it was trained."""
    compressed: bool = False
    """Whether it was made by compressing another model."""
    bytes: int | None = None
    """The size of its files."""
    report: bool = False
    """Whether there is a report on the model; administrators read it with GET …/versions/{model}/report."""
    prepared: bool = False
    """Whether it can be served at once; a job of the kind `share` prepares it."""
    live: bool


class VersionList(BaseModel):
    """All models of a vertical (a named line of models, one of which is served), oldest first."""

    versions: list[Version]


class Card(BaseModel):
    """The model card: the purpose of a model, its training data and its accuracy."""

    vertical: str
    card: str
    """The text of the card, in Markdown."""


class LiveModel(BaseModel):
    """The model that is to be served under the name in the path."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=120, pattern=r"^[\p{L}\p{N}][\p{L}\p{M}\p{N}_.-]*$")
    """The id of a model."""
    another_task: bool = False
    """Whether it may have another task than the live model, or read other fields, which clients of the vertical must expect."""


@resource.get("/v1/verticals", scope="predict")
async def verticals(request: Request, language: In = "en") -> VerticalList:
    """List the verticals (named lines of models, each with one that is served) that the API key may see."""
    service, access = _service(request), request.app.state.access
    names = sorted({*service.answers.fleet.deployments, *service.aliases.pending})
    return VerticalList(verticals=[_info(request, name, language) for name in names if access.sees(request, name)])


@resource.get("/v1/verticals/{vertical}", scope="predict")
async def vertical(vertical: str, request: Request, language: In = "en") -> VerticalInfo:
    """Describe one vertical (a named line of models, one of which is served) and the model that is served now."""
    _check_known(request, vertical)
    return _info(request, vertical, language)


@resource.get("/v1/verticals/{vertical}/versions", scope="predict")
async def versions(vertical: str, request: Request) -> VersionList:
    """List all models of a vertical (a named line of models, one of which is served), oldest first."""
    _check_known(request, vertical)
    return VersionList(versions=await run_in_threadpool(_versions, _service(request), vertical))


@resource.get("/v1/verticals/{vertical}/card", scope="predict")
async def card(vertical: str, request: Request) -> Card:
    """Return the model card of the model that is served under the name in the path."""
    (deployment,) = find_deployments(request, [vertical])
    return Card(vertical=vertical, card=await run_in_threadpool(_card, deployment.model, vertical))


@resource.put("/v1/verticals/{vertical}", scope="admin", status_code=202)
async def choose(vertical: str, body: LiveModel, request: Request) -> VerticalInfo:
    """Serve another model under the name in the path. The previous model is served until the new one is loaded."""
    service = _service(request)
    _check_served(service, vertical)
    target = await run_in_threadpool(service.home.find, "models", body.model)
    if target is None:
        raise NotFound(f"There is no model '{body.model}' in the home folder of the server. List its models: vertune list models")
    if service.database is None:
        if not body.another_task:
            await run_in_threadpool(require_like_live, service.home, vertical, target)
        await run_in_threadpool(service.home.alias, f"{vertical}@live", body.model)
    else:
        versions = Versions(service.home, service.database, actor_of(request))
        await run_in_threadpool(versions.deploy, vertical, body.model, another_task=body.another_task)
    await run_in_threadpool(service.update)
    return _info(request, vertical)


@resource.delete("/v1/verticals/{vertical}", scope="admin", status_code=204)
async def retire(vertical: str, request: Request) -> Response:
    """Stop serving a model under the name in the path. No model is deleted."""
    service = _service(request)
    _check_served(service, vertical)
    try:
        check_name(vertical)
        await run_in_threadpool(_retire, service, vertical, actor_of(request))
    except (ConfigError, NotFound) as error:
        raise NotFound(f"No model is served here under the name '{vertical[:80]}'. List the names with GET /v1/verticals.") from error
    await run_in_threadpool(service.update)
    return Response(status_code=204)


def _retire(service: Service, vertical: str, actor: str) -> None:
    """Remove the alias of a vertical, and tell the audit."""
    alias = f"{vertical}@live"
    if service.database is None:
        service.home.unalias(alias)
        return
    with service.database.writing() as connection:
        note(connection, actor, "retire", f"vertical {vertical}", {"model": service.home.aliases().get(alias)})
        service.home.unalias(alias)


def _card(model: Artifact, name: str) -> str:
    """Return the text of a model's card, empty if it has none; raise StorageError, which names no path, if it can't be read."""
    if not is_present(model.folder, _CARD):
        return ""
    try:
        return regular_file(model.folder, _CARD, limit=_CARD_BYTES).read_text("utf-8")
    except (StorageError, OSError, ValueError) as error:
        raise StorageError(
            f"The model card of '{name}' can't be read; expected a text file of at most {_CARD_BYTES} bytes. Ask the operator of the "
            f"server to restore the file {_CARD} of the model."
        ) from error


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _check_served(service: Service, name: str) -> None:
    """Raise NotFound if this server is not configured to serve a model under this name."""
    if not service.aliases.serves(name):
        only = ", ".join(sorted(service.aliases.only))
        raise NotFound(
            f"No model is served here under the name '{name[:80]}': this server serves only {only}. Send the request to another server."
        )


def _check_known(request: Request, name: str) -> None:
    """Raise NotFound if no model is served under this name, and none waits to be served under it."""
    if name not in _service(request).aliases.pending:
        find_deployments(request, [name])


def _info(request: Request, name: str, language: Language = "en") -> VerticalInfo:
    service, info = _service(request), VerticalInfo(name=name)
    deployment = service.answers.fleet.deployments.get(name)
    if deployment is not None:
        task, info.ready = deployment.task, True
        info.model, info.task, info.precision = deployment.model.id, task.name, deployment.precision
        info.why = written(stored(deployment.why), language)
        info.shared = deployment.shared is not None
        info.fields = {column.name: column.about for column in task.input_columns}
        info.optional = [column.name for column in task.input_columns if not column.required]
        info.labels = list(task.known_labels) or None
        info.fault = written_error(deployment.health.fault, language) or None
    comparison = None if service.rollouts is None else service.rollouts.comparisons.get(name)
    info.candidate = None if comparison is None else comparison.rollout.model
    pending = service.aliases.pending.get(name)
    if pending is not None:
        # an error names files of the server, which concern its operators alone
        why = written_error(pending.why, language) if request.app.state.access.administers(request) else ""
        seconds = None if pending.retry_at is None else round(max(0.0, pending.retry_at - time.monotonic()), 1)
        info.coming = PendingModel(
            model=pending.model, state=pending.state, why=why, attempts=pending.attempts, retry_seconds=seconds
        )  # fmt: skip
    return info


def _versions(service: Service, name: str) -> list[Version]:
    deployment = service.answers.fleet.deployments.get(name)
    live = deployment.model.id if deployment else None
    reported = {parent for report in evaluations(service.home) for parent in report.parents}
    models = [(model, model.manifest_or_empty) for model in service.home.shelf("models")]
    return [_version(service, model, live, reported) for model, manifest in models if manifest.get("name") == name or model.id == live]


def _version(service: Service, model: Artifact, live: str | None, reported: set[str]) -> Version:
    """Return what is known of a model; `reported` are the ids of what reports are about."""
    manifest = model.manifest_or_empty
    config = manifest.get("config")
    method = config.get("method") if isinstance(config, dict) else None
    return Version(
        model=model.id, created=_if(str, manifest.get("created")), metrics=metrics_by_split(model), intervals=intervals_by_split(model),
        method=_if(str, method.get("name") if isinstance(method, dict) else method), compressed=manifest.get("step") == "compress",
        bytes=_if(int, manifest.get("bytes")), report=model.id in reported,
        prepared=model.id == live or is_prepared(service.home, model), live=model.id == live,
    )  # fmt: skip


def _if(kind: type[_T], value: Any) -> _T | None:
    """Return a value of a manifest if it has this type, else None, because a manifest may be damaged."""
    return value if isinstance(value, kind) else None
