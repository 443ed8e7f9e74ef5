"""Checks API keys, sessions, permissions and rate limits of requests; does not depend on what a request contains."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

from starlette.requests import Request

from vertune.answering.call import Call
from vertune.core.errors import AccessError, Busy
from vertune.core.machine import loopback
from vertune.server.connections import CONNECTION, Connection
from vertune.server.cookies import SAFE, SESSION, check_page, check_token, read_cookie
from vertune.server.quotas import Quotas
from vertune.server.rates import RateLimiter
from vertune.store.key import SCOPES, Key, Scope, parse_rate
from vertune.store.keys import Keys
from vertune.store.sessions import Session, Sessions
from vertune.store.user import LOCAL, USER

CALL = "vertune.call"
"""The key under which the ASGI scope of a request contains its Call (sender, inputs, predictions and times)."""
_KEY = "vertune.key"
"""The key under which the ASGI scope of a request contains its API key, after it was looked up."""
ORIGIN = "vertune.origin"
"""The key under which the ASGI scope of a request contains the origin of the page that may read the response."""
_SESSION = "vertune.session"
"""The key under which the ASGI scope of a request contains the session of its browser, if it came with the cookie of one."""
_HOST = re.compile(r"(\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(:\d{1,5})?", re.IGNORECASE)
"""Matches the value of a Host header: a host name or IP address, with an optional port."""


def call_of(request: Request) -> Call:
    """Return the Call of a request: the object in which its sender, inputs, predictions and times are stored."""
    return cast(Call, request.scope[CALL])


class Access:
    """Checks whether a request has an API key with the required permission, and whether the rate limit of this key allows it.

    Instead of a key, a request may have the cookie of a signed-in browser. The user then has the permissions of the role, in the form of
    a key whose id is `user:` and the name of the user. A session of an API key has the permissions of this key, as long as it is valid.
    """

    def __init__(
        self,
        keys: Keys | None,
        rate: str | None = None,
        open_scope: Scope = "predict",
        quotas: Quotas | None = None,
        sessions: Sessions | None = None,
        secure: bool = False,
    ) -> None:
        """`keys` is the database of API keys; None allows requests from this machine without a key, with the permission `open_scope`.

        `rate`, such as `600/minute`, is the rate limit of each key that has none of its own. If `keys` is None, it is the limit of
        each client address. `quotas` are the monthly quotas of customers. `sessions` are the signed-in browsers; None accepts no cookies.
        `secure` tells whether browsers reach the server through encrypted connections alone.
        """
        self.keys = keys
        self._quotas = quotas
        self._limiter = RateLimiter()
        self._rate = rate
        self._open_scope = open_scope
        self._sessions = sessions
        self.secure = secure

    def authorize(self, request: Request, scope: Scope | None, verticals: Sequence[str] = ()) -> None:
        """Check that the API key of a request has the permission `scope` for each model that is named in `verticals`.

        If `verticals` is empty, the permission for any one model is enough. If `scope` is None, nothing is checked. The id of the
        key is stored in the Call of the request. Raises AccessError if the key is missing, unknown, expired or revoked, or if it
        lacks the permission. Raises Busy if the rate limit of the key is exceeded.
        """
        if scope is None:
            return
        key, call = self._key(request), call_of(request)
        if key is None:
            call.client = _client_host(request)
            if self._open_scope not in (scope, "admin"):
                call.refusal = "rights"
                raise AccessError(
                    f"A request without a key does not have the permission '{scope}' on this server. Start the server with keys, or with "
                    "--set open_scope=admin if every user of this machine may do this."
                )
            return
        call.key, call.client, call.customer = key.id, key.id, key.customer
        for vertical in verticals or (None,):
            if not key.may(scope, vertical):
                call.refusal = "rights"
                what = f"'{scope}' on '{vertical}'" if vertical else f"'{scope}'"
                who, whose = ("user", key.name) if key.id.startswith(USER) else ("key", key.id)
                raise AccessError(
                    f"The {who} {whose} does not have the permission {what}. Ask the operator of the server for a {who} that has it."
                )

    def check_quota(self, request: Request, verticals: Sequence[str]) -> None:
        """Check that the plan of the customer that owns the API key of a request allows it to ask these verticals now.

        Raises Busy if a quota is used up, and AccessError if the plan does not contain a vertical. If a quota is nearly used up, the
        response will have a warning.
        """
        key, call = self._key(request), call_of(request)
        if self._quotas is None or key is None:
            return
        try:
            call.warning = self._quotas.check(key.customer, verticals)
        except (AccessError, Busy) as error:
            call.refusal = "quota" if isinstance(error, Busy) else "rights"
            raise

    def running(self, request: Request, requests: int, records: int) -> AbstractContextManager[None]:
        """Return a context in which a request counts for the quotas of its customer, while it is answered."""
        key = self._key(request)
        if self._quotas is None or key is None:
            return nullcontext()
        return self._quotas.running(key.customer, requests, records)

    def storage_trouble(self) -> str:
        """Return why API keys can't be created or revoked at the moment; empty if they can be, or if the server requires none."""
        return "" if self.keys is None else self.keys.trouble()

    def sees(self, request: Request, vertical: str | None = None) -> bool:
        """Return whether the API key of a request may see the model that is served under the name `vertical`.

        If `vertical` is None, return whether the key may see all models.
        """
        key = self._key(request)
        return key is None or key.verticals is None or vertical in key.verticals or "admin" in key.scopes

    def verticals(self, request: Request) -> tuple[str, ...] | None:
        """Return the names of the models that the API key of a request may use; None if it may use all."""
        key = self._key(request)
        return None if key is None or "admin" in key.scopes else key.verticals

    def administers(self, request: Request) -> bool:
        """Return whether the API key of a request has the permission `admin`, or all requests have it without a key."""
        key = self._key(request)
        return self._open_scope == "admin" if key is None else "admin" in key.scopes

    def person(self, request: Request) -> str:
        """Return who makes a request, as labels name the annotator: the name of the user, else the id of the key, else `local`."""
        key = self._key(request)
        return LOCAL if key is None else key.name if key.id.startswith(USER) else key.id

    def session(self, request: Request) -> Session | None:
        """Return the session of the browser that sent a request; None if it sent an API key, or the server requires none.

        Raises AccessError if it sent neither, or if its session has ended.
        """
        self._key(request)
        return cast(Session | None, request.scope.get(_SESSION))

    @property
    def open(self) -> bool:
        """Whether the server answers requests without a key."""
        return self.keys is None

    def granted(self, request: Request) -> list[str]:
        """Return the permissions of a request, in the order in which they are documented."""
        key = self._key(request)
        return expanded({self._open_scope} if key is None else key.scopes)

    def cookie(self, request: Request) -> str | None:
        """Return the cookie with a session that a request has, whether it is valid or not; None if it has none."""
        return read_cookie(request, SESSION, self.secure)

    def key_of(self, secret: str) -> Key:
        """Return the API key to which a secret belongs; raise AccessError if it is not valid, or if the server requires no keys."""
        if self.keys is None:
            raise AccessError("This server requires no keys. Send requests without one.")
        return self.keys.check(secret.strip())

    def key_of_session(self, session: Session) -> Key:
        """Return what the user or the API key of a session may do; raise AccessError if the key is not valid any more."""
        if session.user is not None:
            return session.user.key
        if self.keys is None:
            raise AccessError("This server requires no keys. Send requests without one.")
        return self.keys.live(str(session.key))

    def _key(self, request: Request) -> Key | None:
        """Return the API key of a request, or None if the server requires no keys.

        Only the first call for a request looks up the key and counts the request for the rate limit. Raises AccessError for an
        invalid key, and Busy if the rate limit is exceeded or if the key has too many connections.
        """
        scope = request.scope
        if _KEY not in scope:
            try:
                key = self._checked(request)
            except AccessError:
                call_of(request).refusal = "key"
                raise
            self._count(request, key)
            _accept_connection(request, key)
            scope[_KEY] = key
        return cast(Key | None, scope[_KEY])

    def _checked(self, request: Request) -> Key | None:
        if self.keys is None:
            _refuse_other_sites(request)
            return None
        header = request.headers.get("authorization")
        if header is None and (cookie := self.cookie(request)) is not None and self._sessions is not None:
            return self._of_session(request, self._sessions.check(cookie))
        kind, _, secret = (header or "").partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise AccessError(
                "The request has no API key. Send it in the header 'Authorization: Bearer vt_…', or create one: vertune key create NAME "
                "--scope predict",
                authenticated=False,
            )
        key = self.keys.check(secret.strip())
        if key.origin is not None:
            if request.headers.get("origin", "").lower() != key.origin:
                raise AccessError(
                    f"The key {key.id} is bound to the pages of {key.origin}, but the header Origin of the request is another one. Send it "
                    "from a page there, or create a key for these pages: vertune key create NAME --scope chat --origin ORIGIN"
                )
            request.scope[ORIGIN] = key.origin
        return key

    def opens_to(self, origin: str) -> bool:
        """Return whether pages of this origin may send requests, because a valid key is bound to it."""
        return self.keys is not None and self.keys.has_origin(origin.lower())

    def is_public(self, request: Request) -> bool:
        """Return whether everybody who sees a page can make a request as this one, because its key is bound to the origin of the page."""
        key = self._key(request)
        return key is not None and key.origin is not None

    def _of_session(self, request: Request, session: Session) -> Key:
        """Return what the sender of a request with a cookie may do; raise AccessError if another site may have sent the request."""
        key = self.key_of_session(session)
        if request.method not in SAFE:
            check_page(request)
            check_token(request, session.token)
        request.scope[_SESSION] = session
        return key

    def _count(self, request: Request, key: Key | None) -> None:
        """Count a request for the rate limit of its key, or of its client address if it has no key; raise Busy above the limit.

        Requests are counted before their bodies are read, so requests with invalid bodies count too.
        """
        plan = None if key is None or self._quotas is None else self._quotas.plans.of(key.customer)
        if plan is not None and plan.rate is not None and key is not None:
            self._hit(request, plan.rate, f"customer {key.customer}")
        rate = (key and key.rate) or self._rate
        if rate is not None:
            self._hit(request, rate, f"key {key.id}" if key else f"address {_client_host(request)}")

    def _hit(self, request: Request, rate: str, who: str) -> None:
        """Count a request for a rate limit; raise Busy above it."""
        if seconds := self._limiter.hit(parse_rate(rate), who):
            call_of(request).refusal = "rate"
            seconds = max(0.05, seconds)
            raise Busy(f"The rate limit of {rate} is exceeded for the {who}. Retry in {math.ceil(seconds)} s.", seconds, over_limit=True)


def expanded(scopes: Collection[str]) -> list[str]:
    """Return all scopes (permissions) that these include, in the order in which they are documented."""
    return [scope for scope in SCOPES if scope in scopes or "admin" in scopes]


def _accept_connection(request: Request, key: Key | None) -> None:
    """Count the connection of a request for its API key from now on; raise Busy if the key has too many connections already."""
    connection: Connection | None = request.scope.get(CONNECTION)
    if connection is None or connection.accept(None if key is None else key.id):
        return
    call_of(request).refusal = "connections"
    limit = connection.table.per_key
    raise Busy(f"The key has {limit} open connections, which is its maximum. Close some, or retry in 1 s.", 1.0, over_limit=True)


def _client_host(request: Request) -> str:
    return request.client.host if request.client else "local"


def _refuse_other_sites(request: Request) -> None:
    """Raise AccessError if a web page of another site sent this request through a browser on this machine.

    A server that requires no keys would otherwise answer such pages. Their requests name the other site in the header Origin, or
    in the header Host if the site made its own host name resolve to this machine (DNS rebinding).
    """
    origin = request.headers.get("origin")
    hosts = [request.headers.get("host", "localhost"), *([] if origin is None else [urlsplit(origin).netloc])]
    if not all(map(_is_this_machine, hosts)):
        raise AccessError(
            "The header Host or Origin of this request names another machine. A server without API keys accepts only localhost and "
            "127.0.0.1 in these headers, because a web page of another site could have sent the request. Use localhost in the URL, or "
            "start the server with keys."
        )


@lru_cache(64)
def _is_this_machine(host: str) -> bool:
    """Return whether `host`, a host name or address with an optional port, is that of this machine, such as `localhost:8000`.

    The results are cached, because nearly all requests have the same value in their header Host.
    """
    match = _HOST.fullmatch(host)
    return match is not None and loopback(match["bracketed"] or match["name"])
