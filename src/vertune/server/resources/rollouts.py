"""`/v1/verticals/{vertical}/rollout` and what follows one; does not depend on how models are compared."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.errors import NotFound
from vertune.core.sentence import Language, written
from vertune.masking import standard_masker
from vertune.server import problems
from vertune.server.resource import Resource
from vertune.server.rollouts import ACTOR
from vertune.server.stored import In, actor_of, database_of
from vertune.server.watched import sees_all_of
from vertune.steps.deploy import Plan, Versions
from vertune.store.rollouts import Action, Mode, Rules, Version, history, running
from vertune.store.storable import Storable

resource = Resource("verticals")
OPERATOR = "operator"
"""How a key or a person of the operator is called to customers."""
Reason = Annotated[Storable, Field(max_length=1000), AfterValidator(lambda text: standard_masker().text(text))]


class RolloutRules(BaseModel):
    """When the candidate is rolled back or becomes live without a person."""

    model_config = ConfigDict(extra="forbid")

    roll_back: bool = True
    """Whether it is rolled back if it fails more often, is slower, or is less often right than the live model."""
    slower: Annotated[float, Field(gt=1, le=100)] = 1.5
    """The factor by which the time of an answer may exceed the usual time of the live model."""
    promote_after: Annotated[int, Field(ge=1)] | None = None
    """Number of answers of the candidate after which it becomes live, if nothing speaks against it; null leaves that to a person."""


class RolloutRequest(BaseModel):
    """A candidate, and how it is compared with the live model."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"model": "support-20300131-120000-ab12", "share": 0.1}]})

    model: Annotated[str, Field(min_length=1, max_length=120)]
    """The id of the candidate."""
    mode: Mode = "canary"
    """A canary answers a share of the requests; a shadow answers copies of requests, and nobody sees its answers."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    rules: RolloutRules = RolloutRules()
    reason: Reason = ""


class Decision(BaseModel):
    """Why a decision is made."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = ""


class RolloutInfo(BaseModel):
    """A candidate that is being compared with the live model."""

    vertical: str
    model: str
    live: str
    mode: Mode
    share: float
    rules: RolloutRules
    began: str
    actor: str
    loaded: bool
    """Whether the candidate is in the memory of this server."""
    evidence: dict[str, Any]
    """What this server counted so far of both models; empty for a customer that is not the only one of the vertical."""


class LiveNow(BaseModel):
    """The model that is live after a decision; a server loads it within two seconds."""

    vertical: str
    live: str | None


class VersionInfo(BaseModel):
    """One change of the live model or of its candidate."""

    at: str
    action: Action
    model: str
    previous: str | None
    actor: str
    reason: str
    evidence: dict[str, Any]


class History(BaseModel):
    """Changes of a vertical, newest first."""

    vertical: str
    versions: list[VersionInfo]


@resource.get("/v1/verticals/{vertical}/rollout", scope="predict")
def rollout(vertical: str, request: Request) -> RolloutInfo:
    """Describe the candidate that is being compared with the live model, and what was counted so far.

    Only administrators, and a customer that alone uses the vertical, see what was counted.
    """
    with database_of(request).reading() as connection:
        found, sees_all = running(connection).get(vertical), sees_all_of(request, connection, vertical)
    if found is None:
        raise NotFound(f"'{vertical[:80]}' has no candidate at the moment. Send one with POST to this path.")
    comparison = request.app.state.service.rollouts.comparisons.get(vertical)
    about = {name: value for name, value in asdict(found).items() if name in RolloutInfo.model_fields}
    about["actor"] = _shown_actor(request, found.actor)
    evidence = comparison.evidence() if comparison is not None and sees_all else {}
    return RolloutInfo(**about, loaded=comparison is not None, evidence=evidence)


@resource.post("/v1/verticals/{vertical}/rollout", scope="admin", status_code=201, responses=problems.documented(409))
def begin_rollout(vertical: str, body: RolloutRequest, request: Request) -> RolloutInfo:
    """Begin to compare a candidate with the live model. A rollout that the vertical has already ends."""
    service = request.app.state.service
    rules = Rules(**body.rules.model_dump())
    _versions(request).begin(vertical, body.model, Plan(body.mode, body.share, rules), body.reason)
    service.rollouts.update()
    return rollout(vertical, request)


@resource.post("/v1/verticals/{vertical}/promote", scope="admin", responses=problems.documented(409))
def promote_candidate(vertical: str, body: Decision, request: Request) -> LiveNow:
    """Make the candidate live."""
    service = request.app.state.service
    comparison = service.rollouts.comparisons.get(vertical) if service.rollouts is not None else None
    evidence = {} if comparison is None else comparison.evidence()
    live = _versions(request).promote(vertical, body.reason, evidence)
    service.update()
    return LiveNow(vertical=vertical, live=live)


@resource.post("/v1/verticals/{vertical}/rollback", scope="admin")
def roll_back(vertical: str, body: Decision, request: Request) -> LiveNow:
    """End the rollout of a vertical; without one, let the model be live again that was live before."""
    service = request.app.state.service
    _, live = _versions(request).roll_back(vertical, body.reason)
    service.rollouts.update()
    service.update()
    return LiveNow(vertical=vertical, live=live)


@resource.get("/v1/verticals/{vertical}/history", scope="predict")
def list_history(vertical: str, request: Request, language: In = "en") -> History:
    """List which model became live or candidate when, by whom and why, and on what evidence.

    Only administrators see by whom. Only they, and a customer that alone uses the vertical, see why: reasons and evidence have the figures
    of all requests.
    """
    with database_of(request).reading() as connection:
        found, sees_all = history(connection, vertical), sees_all_of(request, connection, vertical)
    return History(vertical=vertical, versions=[_version(request, one, language, sees_all) for one in found])


def _version(request: Request, one: Version, language: Language, sees_all: bool) -> VersionInfo:
    why = {"reason": written(one.reason, language), "evidence": one.evidence} if sees_all else {"reason": "", "evidence": {}}
    return VersionInfo(**{**asdict(one), **why, "actor": _shown_actor(request, one.actor)})


def _shown_actor(request: Request, actor: str) -> str:
    """Return who made a change as a request may see it: which key or which person of the operator did concerns nobody else."""
    return actor if actor == ACTOR or request.app.state.access.administers(request) else OPERATOR


def _versions(request: Request) -> Versions:
    return Versions(request.app.state.service.home, database_of(request), actor_of(request))
