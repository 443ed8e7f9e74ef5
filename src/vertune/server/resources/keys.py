"""`/v1/keys`: lists, creates, rotates and revokes API keys; does not depend on how they are checked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.errors import ConfigError
from vertune.server import problems
from vertune.server.feedback import Short
from vertune.server.resource import Resource
from vertune.server.stored import Moment, actor_of
from vertune.store.key import Key, Scope, bound_to, new_key
from vertune.store.keys import Keys

resource = Resource("keys")
_YEAR = 366 * 24 * 60 * 60


class NewKeyRequest(BaseModel):
    """The permissions and the lifetime of a new API key."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "website", "scopes": ["predict"]}]})

    name: Short
    """The person or service that will hold the key."""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=20)]
    verticals: Annotated[list[Short], Field(min_length=1, max_length=1000)] | None = None
    """The names of the models that the key may use; null allows all."""
    expires: Moment | None = None
    """When the key ends, with a time zone; null means never."""
    rate: Short | None = None
    """Rate limit, such as 600/minute; null uses that of the server."""
    customer: Short | None = None
    """The organisation that owns the key; null means `default`."""
    origin: Short | None = None
    """The origin of the web pages that alone may use the key, such as https://www.example.com; null for a key that no page shows."""


class RotateRequest(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap": 86400}]})

    overlap: Annotated[float, Field(ge=0, le=_YEAR)] = 86_400.0
    """Seconds for which the old key stays valid."""


class KeyInfo(BaseModel):
    """An API key, without its secret."""

    id: str
    name: str
    customer: str
    scopes: list[str]
    verticals: list[str] | None
    rate: str | None
    origin: str | None
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    state: Literal["live", "expired", "revoked"]


class CreatedKey(KeyInfo):
    """A new API key, with its secret, which can't be shown again."""

    secret: str


class KeyList(BaseModel):
    """All API keys, oldest first."""

    keys: list[KeyInfo]


@resource.get("/v1/keys", scope="admin")
def list_keys(request: Request) -> KeyList:
    """List all API keys, also expired and revoked ones, without their secrets."""
    return KeyList(keys=[KeyInfo(**_properties(key)) for key in _keys(request).all()])


@resource.post("/v1/keys", scope="admin", status_code=201)
def create_key(body: NewKeyRequest, request: Request) -> CreatedKey:
    """Create an API key. Its secret is in this response alone; the audit tells who created it."""
    key = bound_to(new_key(body.name, body.scopes, body.verticals, body.expires, rate=body.rate, customer=body.customer), body.origin)
    secret = _keys(request).add(key, actor_of(request))
    return CreatedKey(**_properties(key), secret=secret)


@resource.delete("/v1/keys/{id}", scope="admin", status_code=204)
def revoke_key(id: str, request: Request) -> Response:
    """Revoke an API key permanently; all servers refuse it within half a second, and end its sessions."""
    _keys(request).revoke(id, actor_of(request))
    return Response(status_code=204)


@resource.post("/v1/keys/{id}/rotate", scope="admin", status_code=201, responses=problems.documented(409))
def rotate_key(id: str, body: RotateRequest, request: Request) -> CreatedKey:
    """Replace an API key by a new one with the same permissions, whose secret is in this response alone."""
    secret, key = _keys(request).rotate(id, timedelta(seconds=body.overlap), actor_of(request))
    return CreatedKey(**_properties(key), secret=secret)


def _keys(request: Request) -> Keys:
    keys: Keys | None = request.app.state.access.keys
    if keys is None:
        raise ConfigError("This server has no keys, because it answers requests without one. Start it without --open.")
    return keys


def _properties(key: Key) -> dict[str, Any]:
    return {
        "id": key.id, "name": key.name, "customer": key.customer, "scopes": sorted(key.scopes),
        "verticals": None if key.verticals is None else list(key.verticals), "rate": key.rate, "origin": key.origin, "created": key.created,
        "expires": key.expires, "revoked": key.revoked, "state": key.state,
    }  # fmt: skip
