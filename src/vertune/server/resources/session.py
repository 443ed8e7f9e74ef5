"""`/v1/session`: signs browsers in and out, with a password, an API key or OpenID Connect; does not depend on how users are stored."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import RedirectResponse

from vertune.core.errors import AccessError, NotFound
from vertune.server import problems
from vertune.server.access import call_of, expanded
from vertune.server.connections import network
from vertune.server.cookies import SESSION, check_page, read_cookie, set_cookie
from vertune.server.openid import FLOW, LIFETIME, Provider
from vertune.server.resource import Resource
from vertune.server.stored import people_of
from vertune.store.key import DEFAULT_CUSTOMER, Key, utc_now
from vertune.store.sessions import Session
from vertune.store.user import LOCAL, MOST_PASSWORD

resource = Resource("people")
_MAX_BODY = 16 << 10
"""Maximum size of a body in bytes; it is read before it is known who sends it."""
_ERRORS = problems.documented(401, 403, 429, 500, 503, 507)
_HOME = "/"
"""Where a browser goes after it has signed in by a provider."""


class SignIn(BaseModel):
    """A name with a password, or an API key."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "ann", "password": "…"}, {"key": "vt_…"}]})

    name: Annotated[str, Field(max_length=200)] | None = None
    password: Annotated[str, Field(max_length=MOST_PASSWORD)] | None = None
    key: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        by_name = self.name is not None and self.password is not None
        if by_name == (self.key is not None) or (self.name is None) != (self.password is None):
            raise ValueError("expected either a name with a password, or a key")
        return self


class NewPassword(BaseModel):
    """The password of the user who is signed in, and a new one."""

    model_config = ConfigDict(extra="forbid")

    old: Annotated[str, Field(max_length=MOST_PASSWORD)]
    new: Annotated[str, Field(max_length=MOST_PASSWORD)]


class SessionInfo(BaseModel):
    """Who is signed in with this browser."""

    name: str
    """The name of the user or of the API key; `local` on a server that needs no keys."""
    role: str | None
    """The role of the user; null for an API key."""
    customer: str
    scopes: list[str]
    """The permissions."""
    token: str | None
    """What requests that change something must send in the header X-CSRF-Token; null if they need none."""
    expires: str | None
    """When the browser is signed out at the latest, in UTC."""
    password: bool
    """Whether there is a password that can be changed here."""
    open: bool
    """Whether the server answers without signing in."""


class Ways(BaseModel):
    """The ways to sign in."""

    openid: bool
    """Whether a provider of OpenID Connect can be used: open /v1/session/openid/start."""
    open: bool
    """Whether nobody needs to sign in."""


@resource.post("/v1/session", scope=None, status_code=201, max_body=_MAX_BODY, responses=_ERRORS)
def sign_in(body: SignIn, request: Request, response: Response) -> SessionInfo:
    """Sign this browser in with a name and a password, or with an API key, and store its cookie. A wrong one is told with status 401.

    A session of an API key ends with the key.
    """
    check_page(request)
    people, access = people_of(request), request.app.state.access
    previous = access.cookie(request)
    if body.key is not None:
        key = access.key_of(body.key)
        cookie, session = people.sign_in_with(key, previous)
    else:
        cookie, session = people.sign_in(str(body.name), str(body.password), _address(request), previous)
        key = access.key_of_session(session)
    _store(request, response, cookie, session)
    return _info(session, key)


@resource.get("/v1/session", scope=None, responses=_ERRORS)
def show_session(request: Request, response: Response) -> SessionInfo:
    """Return who is signed in with this browser, and now and then store a new cookie. Status 401 means that nobody is."""
    access = request.app.state.access
    if access.open:
        access.session(request)
        return SessionInfo(
            name=LOCAL, role=None, customer=DEFAULT_CUSTOMER, scopes=access.granted(request), token=None, expires=None, password=False,
            open=True,
        )  # fmt: skip
    found = _signed_in(request)
    cookie = people_of(request).sessions.renew(found)
    if cookie is not None:
        _store(request, response, cookie, found)
    return _info(found, access.key_of_session(found))


@resource.delete("/v1/session", scope=None, status_code=204, responses=_ERRORS)
def sign_out(request: Request, response: Response) -> None:
    """Sign this browser out."""
    access = request.app.state.access
    if not access.open:
        people_of(request).sessions.end(_signed_in(request))
        response.headers["Set-Cookie"] = set_cookie(SESSION, "", access.secure, 0)


@resource.put("/v1/session/password", scope=None, max_body=_MAX_BODY, responses=_ERRORS)
def change_password(body: NewPassword, request: Request, response: Response) -> SessionInfo:
    """Change the password of the user who is signed in. All other browsers of the user are signed out, and this one gets a new cookie."""
    people, access, found = people_of(request), request.app.state.access, _signed_in(request)
    if found.user is None:
        raise AccessError("You signed in with an API key, which has no password. Rotate the key instead.")
    cookie, new = people.change_password(found.user, body.old, body.new, _address(request))
    _store(request, response, cookie, new)
    return _info(new, access.key_of_session(new))


@resource.get("/v1/session/providers", scope=None)
def providers(request: Request) -> Ways:
    """Return how people can sign in."""
    return Ways(openid=request.app.state.service.openid is not None, open=request.app.state.access.open)


@resource.get("/v1/session/openid/start", scope=None, status_code=303, responses=problems.documented(404, 422, 500, 503))
def start_openid(request: Request) -> Response:
    """Lead this browser to the provider of OpenID Connect, where the user signs in."""
    url, flow = _provider(request).begin()
    headers = {"Set-Cookie": set_cookie(FLOW, flow, request.app.state.access.secure, LIFETIME, "Lax")}
    return RedirectResponse(url, 303, headers)


@resource.get("/v1/session/openid/callback", scope=None, status_code=303, responses={**_ERRORS, **problems.documented(404, 409, 431)})
def finish_openid(
    request: Request,
    state: Annotated[str, Query(max_length=500)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
    iss: Annotated[str, Query(max_length=1000)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Sign in the user whom the provider sent back with a code, and lead the browser to the pages of this server."""
    access = request.app.state.access
    flow = read_cookie(request, FLOW, access.secure)
    identity = _provider(request).finish(flow, {"state": state, "code": code, "iss": iss, "error": error})
    cookie, found = people_of(request).sign_in_as(identity, access.cookie(request))
    response = RedirectResponse(_HOME, 303)
    _store(request, response, cookie, found)
    response.headers.append("Set-Cookie", set_cookie(FLOW, "", access.secure, 0, "Lax"))
    return response


def _signed_in(request: Request) -> Session:
    """Return the session of the browser; raise AccessError if there is none."""
    access = request.app.state.access
    if access.cookie(request) is None and "authorization" not in request.headers:
        raise AccessError("This browser is not signed in. Sign in with POST /v1/session.", authenticated=False)
    found: Session | None = access.session(request)
    if found is None:
        raise AccessError("This request has an API key; expected the cookie of a browser that is signed in. Sign in.", authenticated=False)
    call, key = call_of(request), access.key_of_session(found)
    call.key, call.client, call.customer = key.id, key.id, key.customer
    return found


def _store(request: Request, response: Response, cookie: str, found: Session) -> None:
    seconds = (found.expires - utc_now()).total_seconds()
    response.headers["Set-Cookie"] = set_cookie(SESSION, cookie, request.app.state.access.secure, seconds)


def _info(found: Session, key: Key) -> SessionInfo:
    user = found.user
    return SessionInfo(
        name=key.name, role=user and user.role, customer=key.customer, scopes=expanded(key.scopes), token=found.token,
        expires=found.expires.isoformat(), password=user is not None and user.subject is None, open=False,
    )  # fmt: skip


def _address(request: Request) -> str | None:
    """Return what identifies the client for those who guess passwords; None behind a proxy, whose address all clients have."""
    client = request.client
    return None if client is None or request.app.state.service.settings.behind_proxy else network(client.host)


def _provider(request: Request) -> Provider:
    provider: Provider | None = request.app.state.service.openid
    if provider is None:
        raise NotFound("This server has no provider of OpenID Connect. Sign in with a name and a password, or with a key.")
    return provider
