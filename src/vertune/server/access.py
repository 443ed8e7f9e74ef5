"""Checks API keys, permissions and rate limits of requests; does not depend on what a request contains."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

from starlette.requests import Request

from vertune.answering.call import Call
from vertune.core.errors import AccessError, Busy
from vertune.core.machine import loopback
from vertune.server.connections import CONNECTION, Connection
from vertune.server.quotas import Quotas
from vertune.server.rates import RateLimiter
from vertune.store.key import Key, Scope, parse_rate
from vertune.store.keys import Keys

CALL = "vertune.call"
"""The key under which the ASGI scope of a request contains its Call (sender, inputs, predictions and times)."""
_KEY = "vertune.key"
"""The key under which the ASGI scope of a request contains its API key, after it was looked up."""
_HOST = re.compile(r"(\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(:\d{1,5})?", re.IGNORECASE)
"""Matches the value of a Host header: a host name or IP address, with an optional port."""


def call_of(request: Request) -> Call:
    """Return the Call of a request: the object in which its sender, inputs, predictions and times are stored."""
    return cast(Call, request.scope[CALL])


class Access:
    """Checks whether a request has an API key with the required permission, and whether the rate limit of this key allows it."""

    def __init__(self, keys: Keys | None, rate: str | None = None, open_scope: Scope = "predict", quotas: Quotas | None = None) -> None:
        """`keys` is the database of API keys; None allows requests from this machine without a key, with the permission `open_scope`.

        `rate`, such as `600/minute`, is the rate limit of each key that has none of its own. If `keys` is None, it is the limit of
        each client address. `quotas` are the monthly quotas of customers.
        """
        self._keys = keys
        self._quotas = quotas
        self._limiter = RateLimiter()
        self._rate = rate
        self._open_scope = open_scope

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
                raise AccessError(
                    f"The key {key.id} does not have the permission {what}. Ask the operator of the server for a key that has it."
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

    def storage_trouble(self) -> str:
        """Return why API keys can't be created or revoked at the moment; empty if they can be, or if the server requires none."""
        return "" if self._keys is None else self._keys.trouble()

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
        if self._keys is None:
            _refuse_other_sites(request)
            return None
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise AccessError(
                "The request has no API key. Send it in the header 'Authorization: Bearer vt_…', or create one: vertune key create NAME "
                "--scope predict",
                authenticated=False,
            )
        return self._keys.check(secret.strip())

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
