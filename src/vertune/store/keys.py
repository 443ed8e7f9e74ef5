"""Stores API keys in the server's database, each with its permissions and its expiry; independent of HTTP and models.

A client sends the secret of its key: `vt_`, the id of the key, `_`, and 256 random bits in base64. Only the SHA-256 hash of the
random bits is stored. They can't be guessed, so no slow password hash is needed.

All keys are cached (`store/cached.py`). A key that another process revokes may be accepted for `REVOCATION_DELAY` seconds. A key that
another process creates works at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from vertune.core.errors import AccessError, ConfigError, Conflict, NotFound, StorageError
from vertune.store import audit, schema
from vertune.store.cached import REVOCATION_DELAY, Cached
from vertune.store.database import HOW_TO_RESTORE, Database, format_time
from vertune.store.key import DEFAULT_CUSTOMER, Key, bound_to, is_id, new_id, new_key, utc_now

__all__ = ["ACTOR", "REVOCATION_DELAY", "Keys"]
ACTOR = "command line"
"""Who changes keys on the command line, for the audit."""
_ROW_COLUMNS = [column for column in schema.keys.c if column.name != "successor"]

_StoredKey = tuple[bytes, Key | None]
"""The SHA-256 hash of the random part of a secret, and the API key to which that secret belongs."""
_UNKNOWN_ID: _StoredKey = (secrets.token_bytes(32), None)
"""The entry that secrets with unknown ids are compared with, so that the response time does not reveal which ids exist."""


class Keys(Cached[dict[str, _StoredKey]]):
    """The API keys in one database; safe for use from many threads and processes."""

    revision = "keys"
    what = "API keys"

    def __init__(self, database: Database) -> None:
        super().__init__(database, {})
        self._revoked: dict[str, datetime] = {}
        """The time of revocation of every key that this object has seen revoked, by id."""

    def trouble(self) -> str:
        """Return why keys can't be created at the moment, for example because the disk is full; empty if they can be created."""
        if self._watcher is not None and self._failure is not None:
            return "the database of the keys can't be read; the log says why"
        return self.database.trouble()

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        verticals: Iterable[str] | None = None,
        expires: datetime | None = None,
        rate: str | None = None,
        customer: str | None = None,
        origin: str | None = None,
    ) -> tuple[str, Key]:
        """Create an API key; return its secret, which the client must send, and the key.

        `scopes` are the permissions of the key. `verticals` are the names of the models that it may use; None allows all.
        `customer` is the name of the organisation that owns the key; keys without one share the customer `default`. `origin` is that of
        the web pages that alone may use the key. The secret is stored nowhere and can't be shown again. Raises ConfigError for an invalid
        argument, UnknownName for an unknown scope, and StorageError if the database can't be used.
        """
        key = bound_to(new_key(name, scopes, verticals, expires, rate=rate, customer=customer), origin)
        return self.add(key), key

    def add(self, key: Key, actor: str = ACTOR) -> str:
        """Store a key that `new_key` made, and return its secret; `actor` is who creates it, for the audit."""
        with self.changing() as connection:
            audit.note(connection, actor, "create key", key.id, {"name": key.name, "scopes": sorted(key.scopes), "customer": key.customer})
            return _insert(connection, key)

    def check(self, secret: str) -> Key:
        """Return the API key to which a secret belongs, if it is neither expired nor revoked.

        Raises AccessError for an unknown, expired or revoked key, with a message that contains no part of the secret, and
        StorageError if the database can't be read.
        """
        prefix, _, rest = secret.partition("_")
        id, _, random_part = rest.partition("_")
        digest = hashlib.sha256(random_part.encode("utf-8", "surrogatepass")).digest()
        # A secret that the cache does not know may have been created a moment ago by another process.
        key = _matching(self._cached_rows(), id, digest) or _matching(self._rows_of_now(), id, digest)
        if key is None or prefix != "vt":
            raise AccessError(
                "The API key is not known to this server; expected a secret that `vertune key create` printed (vt_…). "
                "Copy it again completely, or create a new key.",
                authenticated=False,
            )
        return _live(key)

    def has_origin(self, origin: str) -> bool:
        """Return whether a valid key is bound to this origin, whose pages may then send requests."""
        return any(key.origin == origin and key.state == "live" for _, key in self._cached_rows().values() if key is not None)

    def live(self, id: str) -> Key:
        """Return the API key with this id, for what was permitted to its owner before; raise AccessError if it is not valid any more."""
        key = self._cached_rows().get(id, _UNKNOWN_ID)[1]
        if key is None:
            raise AccessError("The API key does not exist any more; expected a valid key. Create a new key.", authenticated=False)
        return _live(key)

    def rotate(self, id: str, overlap: timedelta, actor: str = ACTOR) -> tuple[str, Key]:
        """Replace a key by a new one with the same name, permissions and lifetime; return the new secret and the new key.

        The old key remains valid for the time `overlap`, but not longer than it would have been anyway. Raises NotFound for an
        unknown id, Conflict for a key that is expired, revoked or already replaced, ConfigError for a negative overlap, and
        StorageError if the database can't be used.
        """
        if overlap < timedelta(0):
            raise ConfigError(
                f"The overlap, for which the old key remains valid, is {overlap.total_seconds():g} s; expected 0 seconds or more. "
                "Pass for example --overlap 24h."
            )
        now, table = utc_now(), schema.keys
        with self.changing() as connection:
            old = self._get(id)
            successor = connection.scalar(select(table.c.successor).where(table.c.id == id))
            if successor:
                raise Conflict(f"The key {id} was already replaced by the key {successor}. Rotate or revoke that key instead.")
            if old.state != "live":
                raise Conflict(
                    f"The key {id} is {old.state}; only a live key can be rotated. Create a new one: "
                    "vertune key create NAME --scope predict"
                )
            new = replace(old, id=new_id(), created=now, expires=old.expires and now + (old.expires - old.created))
            secret = _insert(connection, new)
            end = min(old.expires or now + overlap, now + overlap)
            connection.execute(table.update().where(table.c.id == id).values(expires=format_time(end), successor=new.id))
            audit.note(connection, actor, "rotate key", id, {"name": new.name, "successor": new.id})
        return secret, new

    def revoke(self, id: str, actor: str = ACTOR) -> Key:
        """Make a key permanently invalid, and return it. Other processes refuse it at the latest `REVOCATION_DELAY` seconds later.

        If the key is already revoked, its time of revocation does not change. Raises NotFound for an unknown id, and StorageError if
        the database can't be used.
        """
        try:
            return self._revoke(id, actor)
        except StorageError:
            if not self.database.make_room():
                raise
            return self._revoke(id, actor)
        finally:
            self.database.renew_reserve()

    def _revoke(self, id: str, actor: str) -> Key:
        table = schema.keys
        with self.changing() as connection:
            key = self._get(id)
            if not key.revoked:
                key = replace(key, revoked=utc_now())
                connection.execute(table.update().where(table.c.id == id).values(revoked=_format(key.revoked)))
                audit.note(connection, actor, "revoke key", id, {"name": key.name})
        self._revoked[id] = key.revoked or utc_now()
        return key

    def all(self) -> list[Key]:
        """Return every key ever created in this database, expired and revoked ones included, oldest first."""
        return [key for _, key in self._refresh().values() if key is not None]

    def __len__(self) -> int:
        """Return the number of keys ever created, including expired and revoked ones; it is 0 only for a new database."""
        return len(self._refresh())

    def _read(self, connection: Connection) -> dict[str, _StoredKey]:
        """Return all keys in the database, by their ids.

        A key that was seen revoked stays revoked, even if the database is replaced by one in which it is not.
        """
        try:
            rows: dict[str, _StoredKey] = {
                row.id: (bytes(row.hash), _key_of_row(row))
                for row in connection.execute(select(*_ROW_COLUMNS).order_by(schema.keys.c.created, schema.keys.c.id))
            }
        except (TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{self.database.name} contains a key that can't be read: {error}. {HOW_TO_RESTORE}") from error
        for id, (digest, key) in rows.items():
            if key is not None and key.revoked:
                self._revoked.setdefault(id, key.revoked)
            elif key is not None and id in self._revoked:
                rows[id] = digest, replace(key, revoked=self._revoked[id])
        return rows

    def _get(self, id: str) -> Key:
        key = self._rows.get(id, _UNKNOWN_ID)[1]
        if key is not None:
            return key
        if not is_id(id):  # it may be a secret, which no message may repeat
            raise NotFound(
                "This is not the id of a key; expected the 12 characters between 'vt_' and the next '_' of its secret. "
                "List the ids: vertune key list"
            )
        raise NotFound(f"There is no key {id} in this database. List the keys: vertune key list")


def _matching(rows: dict[str, _StoredKey], id: str, digest: bytes) -> Key | None:
    """Return the key with this id if its secret has this SHA-256 hash, else None.

    The comparison takes as long for an unknown id as for a known one, so its time does not reveal which ids exist.
    """
    stored, key = rows.get(id, _UNKNOWN_ID)
    return key if hmac.compare_digest(digest, stored) else None


def _live(key: Key) -> Key:
    """Return a key unchanged; raise AccessError if it is expired or revoked."""
    if key.state != "live":
        raise AccessError(
            f"The key '{key.name}' is {key.state}; expected a valid key. Request a new one from the operator of the server.",
            authenticated=False,
        )
    return key


def _insert(connection: Connection, key: Key) -> str:
    """Insert a key into the database and return its new secret."""
    random_part = secrets.token_urlsafe(32)
    row = {
        "id": key.id, "hash": hashlib.sha256(random_part.encode()).digest(), "name": key.name, "scopes": " ".join(sorted(key.scopes)),
        "verticals": None if key.verticals is None else " ".join(key.verticals), "created": format_time(key.created),
        "expires": _format(key.expires), "rate": key.rate, "customer": key.customer, "origin": key.origin,
    }  # fmt: skip
    connection.execute(schema.keys.insert().values(row))
    return f"vt_{key.id}_{random_part}"


def _key_of_row(row: Row[Any]) -> Key:
    return Key(
        row.id, row.name, frozenset(row.scopes.split()), None if row.verticals is None else tuple(row.verticals.split()),
        created=datetime.fromisoformat(row.created), expires=_parse(row.expires), revoked=_parse(row.revoked), rate=row.rate,
        customer=row.customer or DEFAULT_CUSTOMER, origin=row.origin,
    )  # fmt: skip


def _parse(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _format(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)
