"""Who asks, what they may, and how much of it; knows nothing of what is asked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from vertune.core.errors import AccessError, Busy
from vertune.server.settings import loopback
from vertune.store.key import Key, Scope
from vertune.store.keys import Keys

_KEY = "vertune.key"
"""Where a request carries its key."""
_HOST = re.compile(r"(\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(:\d{1,5})?", re.IGNORECASE)
"""A name or an address, and a port."""


class Access:
    """The keys of a server, and what each has asked of late."""

    def __init__(self, keys: Keys | None, rate: str | None = None, refused: Callable[[str], None] = lambda reason: None) -> None:
        """Without keys everybody on this machine may ask; `rate`, a checked one, holds for keys without their own; `refused` counts."""
        self._keys = keys
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rates: dict[str, RateLimitItem] = {}
        self._rate = rate
        self._refused = refused

    def key(self, request: Request) -> Key | None:
        """The key that came as `Authorization: Bearer vt_…`, looked up and counted once a request; None where everybody may ask.

        AccessError for none, and for one that is not known, has expired or was revoked; Busy where it asked too much of late.
        """
        scope = request.scope
        if _KEY not in scope:
            try:
                found = self._checked(request)
            except AccessError:
                self._refused("key")
                raise
            self._count(request, found)
            scope[_KEY] = found
        key: Key | None = scope[_KEY]
        return key

    def _checked(self, request: Request) -> Key | None:
        if self._keys is None:
            _refuse_strangers(request)
            return None
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise AccessError("This needs a key: send it as 'Authorization: Bearer vt_…'. Make one: vertune key create NAME", known=False)
        return self._keys.check(secret.strip())

    def asker(self, request: Request, scope: Scope, verticals: tuple[str, ...] = ()) -> str:
        """The name under which a request counts; AccessError where it may not do this, Busy where it asked too much of late."""
        key = self.key(request)
        if key is None:
            return _host(request)
        for vertical in verticals or (None,):
            if not key.may(scope, vertical):
                self._refused("rights")
                what = f"'{scope}' on '{vertical}'" if vertical else f"'{scope}'"
                raise AccessError(f"The key {key.id} may not do {what}. Ask who runs this server for one that may.")
        return key.id

    def sees(self, request: Request, vertical: str | None = None) -> bool:
        """Whether the asker's key is not bound to other verticals; without one, whether it is bound to none."""
        key = self.key(request)
        return key is None or key.verticals is None or vertical in key.verticals or "admin" in key.scopes

    def _count(self, request: Request, key: Key | None) -> None:
        """Count a request before its body is read, so that one of a wrong shape counts too."""
        rate = (key and key.rate) or self._rate
        if rate is None:
            return
        item, name = self._parsed(rate), key.id if key else _host(request)
        if not self._limiter.hit(item, name):
            self._refused("rate")
            reset = self._limiter.get_window_stats(item, name).reset_time
            raise Busy(f"At most {rate} may be asked here, and that was.", max(0.05, reset - time.time()), own=True)

    def _parsed(self, rate: str) -> RateLimitItem:
        if rate not in self._rates:
            self._rates[rate] = parse(rate)
        return self._rates[rate]


def _host(request: Request) -> str:
    return request.client.host if request.client else "local"


def _refuse_strangers(request: Request) -> None:
    """AccessError for a request by a name that is not this machine's: a page of another site whose name was made to lead here."""
    if not _local(request.headers.get("host", "localhost")):
        raise AccessError(
            "Without keys this server answers only to localhost and 127.0.0.1; the request named another host. Use one of them."
        )


@lru_cache(64)
def _local(host: str) -> bool:
    """Whether a request's Host names this machine; the same few are asked again and again."""
    found = _HOST.fullmatch(host)
    return found is not None and loopback(found["bracketed"] or found["name"])
