"""Who asks, what they may, and how much of it; knows nothing of what is asked."""

from __future__ import annotations

import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from vertune.core.errors import AccessError, Busy, ConfigError
from vertune.store.keys import Key, Keys, Scope


class Access:
    """The keys of a server, and what each has asked of late."""

    def __init__(self, keys: Keys | None, rate: str | None = None) -> None:
        """Without keys everybody may ask; `rate` holds for keys without one of their own."""
        self._keys = keys
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rates: dict[str, RateLimitItem] = {}
        self._rate = rate
        if rate:
            self._parsed(rate)

    def asker(self, request: Request, scope: Scope, verticals: tuple[str, ...] = ()) -> str:
        """The name under which a request counts; AccessError where it may not do this, Busy where it asked too much of late.

        A key goes as `Authorization: Bearer vt_…`.
        """
        if self._keys is None:
            host = request.client.host if request.client else "local"
            self._count(host, self._rate)
            return host
        key = self._key(request.headers.get("authorization", ""))
        for vertical in verticals or (None,):
            if not key.may(scope, vertical):
                what = f"'{scope}' on '{vertical}'" if vertical else f"'{scope}'"
                raise AccessError(f"The key {key.id} may not do {what}. Ask who runs this server for one that may.")
        self._count(key.id, key.rate or self._rate)
        return key.id

    def sees(self, request: Request, vertical: str) -> bool:
        """Whether the asker's key is not bound to other verticals."""
        if self._keys is None:
            return True
        key = self._key(request.headers.get("authorization", ""))
        return key.verticals is None or vertical in key.verticals or "admin" in key.scopes

    def _key(self, header: str) -> Key:
        assert self._keys is not None
        kind, _, secret = header.partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise AccessError("This needs a key: send it as 'Authorization: Bearer vt_…'. Make one: vertune key create NAME", known=False)
        return self._keys.check(secret.strip())

    def _count(self, name: str, rate: str | None) -> None:
        if rate is None:
            return
        item = self._parsed(rate)
        if not self._limiter.hit(item, name):
            reset = self._limiter.get_window_stats(item, name).reset_time
            raise Busy(f"At most {rate} may be asked here, and that was.", max(0.05, reset - time.time()), own=True)

    def _parsed(self, rate: str) -> RateLimitItem:
        if rate not in self._rates:
            try:
                self._rates[rate] = parse(rate)
            except ValueError as error:
                raise ConfigError(f"A rate is written like 600/minute; got '{rate}'.") from error
        return self._rates[rate]
