"""One API key: its permissions, and the validation of its fields; independent of databases and HTTP."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, get_args

from vertune.core.errors import ConfigError, UnknownName
from vertune.core.machine import loopback
from vertune.core.names import check_name

Scope = Literal["predict", "feedback", "train", "label", "review", "chat", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
DEFAULT_CUSTOMER = "default"
"""The customer of keys that were created without one, and of requests without a key."""
_RATE = re.compile(r"\s*([1-9]\d{0,11})\s*(?:/|per)\s*([1-9]\d{0,5})?\s*([a-z]+?)s?\s*", re.IGNORECASE | re.ASCII)
_ID = re.compile(r"[0-9a-f]{12}")
_DAY = 24 * 60 * 60
_ORIGIN = re.compile(r"https?://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_UNITS = {"second": 1, "minute": 60, "hour": 60 * 60, "day": _DAY, "month": 30 * _DAY, "year": 360 * _DAY}
"""Seconds of each unit of time that a rate limit may name."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: the number of requests that are allowed within a time."""

    amount: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Key:
    """The name, permissions and lifetime of one API key, without its secret; times are in UTC."""

    id: str
    name: str
    scopes: frozenset[str]
    verticals: tuple[str, ...] | None
    """The verticals (fine-tuned models) that the key may use; None allows all."""
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    rate: str | None
    """Rate limit of this key, such as 600/minute; None uses the default of the server."""
    customer: str = DEFAULT_CUSTOMER
    """The organisation that owns the key. Keys of one customer see the same feedback and usage."""
    origin: str | None = None
    """The origin, such as https://www.example.com, of the pages that alone may use the key; everybody who sees such a page can read it."""

    @property
    def state(self) -> Literal["live", "expired", "revoked"]:
        """The current state of the key; only a live key grants access."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= utc_now() else "live"

    def may(self, scope: Scope, vertical: str | None = None) -> bool:
        """Return whether the key has the scope (permission) for the model that is served under the name `vertical`.

        If `vertical` is None, return whether the key has the scope for at least one model. The scope `admin` includes all other
        scopes, for all models.
        """
        if "admin" in self.scopes:
            return True
        return scope in self.scopes and (vertical is None or self.verticals is None or vertical in self.verticals)


def bound_to(key: Key, origin: str | None) -> Key:
    """Return a key that only pages of an origin may use; unchanged without one.

    Raises ConfigError for an origin that is none, and for a key that may do more than chat, because visitors of the pages can read it.
    """
    if origin is None:
        return key
    spelt = origin.strip().lower().removesuffix("/")
    match = _ORIGIN.fullmatch(spelt)
    if match is None or (spelt.startswith("http://") and not loopback(match["host"].strip("[]"))):
        raise ConfigError(
            f"The origin of the key is '{origin[:80]}'; expected the beginning of the address of web pages, such as "
            "https://www.example.com, without a path. Correct it."
        )
    if key.scopes != {"chat"}:
        raise ConfigError(
            f"The key for the pages of {spelt} has the scopes {', '.join(sorted(key.scopes))}; expected 'chat' alone, because visitors "
            "of such a page can read the key. Create another key for the other scopes."
        )
    return replace(key, origin=spelt)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def new_key(
    name: str,
    scopes: Iterable[str],
    verticals: Iterable[str] | None = None,
    expires: datetime | None = None,
    rate: str | None = None,
    customer: str | None = None,
) -> Key:
    """Return a key with a new id; the arguments are those of `Keys.create`, and so are the errors. `bound_to` binds it to an origin."""
    now = utc_now()
    key = Key(
        id=new_id(), name=checked_name(name), scopes=checked_scopes(scopes),
        verticals=None if verticals is None else tuple(dict.fromkeys(map(check_name, verticals))),
        created=now, expires=checked_expiry(expires, now), revoked=None, rate=None if rate is None else checked_rate(rate),
        customer=DEFAULT_CUSTOMER if customer is None else check_name(customer),
    )  # fmt: skip
    if key.verticals == ():
        raise ConfigError(
            "The key's list of allowed verticals (names of models) is empty; expected one or more. Leave the list out to allow all."
        )
    if key.verticals and "admin" in key.scopes:
        raise ConfigError(
            "An admin key can't be restricted to some verticals (names of models), because 'admin' includes all of them. "
            "Leave out the verticals or the scope 'admin'."
        )
    return key


def new_id() -> str:
    """Return the id of a new key."""
    return secrets.token_hex(6)


def is_id(text: str) -> bool:
    """Return whether a text looks like the id of a key."""
    return _ID.fullmatch(text) is not None


def checked_name(name: str) -> str:
    """Return the name of a key without surrounding spaces.

    Raises ConfigError if the name is empty, has more than 80 characters, or contains characters that can't be printed.
    """
    name = name.strip()
    if not name or len(name) > 80 or not name.isprintable():
        raise ConfigError(f"The name of the key is {name[:80]!r}; expected 1 to 80 printable characters. Name the key after its user.")
    return name


def checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return the scopes (permissions) of a key without duplicates.

    Raises UnknownName for a scope that does not exist, and ConfigError if `scopes` is empty.
    """
    unique = frozenset(scopes)
    for scope in sorted(unique):
        if scope not in SCOPES:
            raise UnknownName("scope", scope, SCOPES)
    if not unique:
        raise ConfigError(f"The key has no scope (permission); expected one scope or more. Choose from: {', '.join(SCOPES)}.")
    return unique


def checked_expiry(expires: datetime | None, now: datetime) -> datetime | None:
    """Return the time at which a key expires, converted to UTC; None means that it never expires, and is returned unchanged.

    Raises ConfigError if the time has no time zone or is not later than `now`.
    """
    if expires is None:
        return None
    if expires.tzinfo is None:
        raise ConfigError(f"The expiry {expires.isoformat()} has no time zone. Pass a time with a time zone, such as UTC.")
    if expires <= now:
        raise ConfigError(f"The expiry {expires.isoformat()} has passed; expected a time in the future. Pass for example --expires 90d.")
    return expires.astimezone(UTC)


def checked_rate(rate: str) -> str:
    """Return a rate limit, such as `600/minute`, unchanged; raise ConfigError if it is not valid."""
    parse_rate(rate)
    return rate


@lru_cache(1024)
def parse_rate(rate: str) -> Rate:
    """Parse a rate limit, such as `600/minute` or `10 per 2 hours`; raise ConfigError if it is not valid.

    A month has 30 days, and a year 12 months.
    """
    match = _RATE.fullmatch(rate)
    if match is None or match[3].lower() not in _UNITS:
        raise ConfigError(
            f"The rate limit is {rate[:40]!r}; expected a number of requests per unit of time. Write one such as 600/minute or 10/second."
        )
    return Rate(int(match[1]), int(match[2] or 1) * _UNITS[match[3].lower()])
