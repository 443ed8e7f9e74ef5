"""Who asks, what they may do, and how often; knows nothing of what is asked."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from vertune.answering.call import Call
from vertune.core.errors import AccessError, Busy
from vertune.server.settings import loopback
from vertune.store.key import Key, Scope
from vertune.store.keys import Keys

CALL = "vertune.call"
"""Where the scope of a request holds its Call."""
_KEY = "vertune.key"
"""Where the scope of a request holds its Key, once that was looked up."""
_HOST = re.compile(r"(\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(:\d{1,5})?", re.IGNORECASE)
"""A name or an address, and a port."""


def call_of(request: Request) -> Call:
    """The call that a request is."""
    return cast(Call, request.scope[CALL])


class Access:
    """The keys of a server, and how often each was used lately."""

    def __init__(self, keys: Keys | None, rate: str | None = None) -> None:
        """Without keys everybody on this machine may ask. `rate`, such as `600/minute`, limits keys that have no rate of their own."""
        self._keys = keys
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rates: dict[str, RateLimitItem] = {}
        self._rate = rate

    def authorize(self, request: Request, scope: Scope | None, verticals: Sequence[str] = ()) -> None:
        """Check that the key of a request has a scope, on these verticals, and note in its call who asks; None checks nothing.

        Raises AccessError where the key is missing, unknown, expired, revoked or not for this; Busy where it asks too often.
        """
        if scope is None:
            return
        key, call = self._key(request), call_of(request)
        if key is None:
            call.customer = _client_host(request)
            return
        call.key = call.customer = key.id
        for vertical in verticals or (None,):
            if not key.may(scope, vertical):
                call.refusal = "rights"
                what = f"'{scope}' on '{vertical}'" if vertical else f"'{scope}'"
                raise AccessError(f"The key {key.id} may not do {what}. Ask the operator of the server for a key that may.")

    def sees(self, request: Request, vertical: str | None = None) -> bool:
        """Whether the request may know of a vertical; None asks whether it may know of all."""
        key = self._key(request)
        return key is None or key.verticals is None or vertical in key.verticals or "admin" in key.scopes

    def _key(self, request: Request) -> Key | None:
        """The key of a request, looked up and counted once; None where everybody may ask."""
        scope = request.scope
        if _KEY not in scope:
            try:
                key = self._checked(request)
            except AccessError:
                call_of(request).refusal = "key"
                raise
            self._count(request, key)
            scope[_KEY] = key
        return cast(Key | None, scope[_KEY])

    def _checked(self, request: Request) -> Key | None:
        if self._keys is None:
            _refuse_other_sites(request)
            return None
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise AccessError(
                "This needs a key: send it as 'Authorization: Bearer vt_…'. Make one: vertune key create NAME", authenticated=False
            )
        return self._keys.check(secret.strip())

    def _count(self, request: Request, key: Key | None) -> None:
        """Count a request against its rate; before its body is read, so that one of a wrong shape counts too."""
        rate = (key and key.rate) or self._rate
        if rate is None:
            return
        if rate not in self._rates:
            self._rates[rate] = parse(rate)
        item, name = self._rates[rate], key.id if key else _client_host(request)
        if not self._limiter.hit(item, name):
            call_of(request).refusal = "rate"
            seconds = max(0.05, self._limiter.get_window_stats(item, name).reset_time - time.time())
            who = f"key {key.id}" if key else f"address {name}"
            raise Busy(f"Rate limit of {rate} exceeded for {who}. Retry in {math.ceil(seconds)} s.", seconds, over_limit=True)


def _client_host(request: Request) -> str:
    return request.client.host if request.client else "local"


def _refuse_other_sites(request: Request) -> None:
    """AccessError for a request that a page of another site sends through a browser on this machine.

    Either its host name is the other site's, made to resolve to this machine, or its Origin is.
    """
    origin = request.headers.get("origin")
    hosts = [request.headers.get("host", "localhost"), *([] if origin is None else [urlsplit(origin).netloc])]
    if not all(map(_is_this_machine, hosts)):
        raise AccessError(
            "A server without keys answers only requests to and from localhost and 127.0.0.1; this one names another host. "
            "Use one of these names, or start the server with keys."
        )


@lru_cache(64)
def _is_this_machine(host: str) -> bool:
    """Whether the value of a Host header names this machine; cached, because nearly all requests send the same one."""
    match = _HOST.fullmatch(host)
    return match is not None and loopback(match["bracketed"] or match["name"])
