"""Stores API keys in the server's database, each with its permissions and its expiry; independent of HTTP and models.

A client sends the secret of its key: `vt_`, the id of the key, `_`, and 256 random bits in base64. Only the SHA-256 hash of the
random bits is stored. They can't be guessed, so no slow password hash is needed.

All keys are cached, and the cache is `REVOCATION_DELAY` seconds old at most. A key that another process revokes may therefore be
accepted for this time. A key that another process creates works at once.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from vertune.core.artifact import check_name
from vertune.core.errors import AccessError, ConfigError, Conflict, NotFound, StorageError, Unavailable
from vertune.store import audit, schema
from vertune.store.database import HOW_TO_RESTORE, Database, format_time
from vertune.store.key import DEFAULT_CUSTOMER, Key, checked_expiry, checked_name, checked_rate, checked_scopes, utc_now

_log = logging.getLogger("vertune")
REVOCATION_DELAY = 0.5
"""Seconds for which cached keys are used before the database is queried again."""
_REFRESH_INTERVAL = 0.2
"""Seconds between the queries of the thread that keeps the cache up to date."""
_MAX_ROWS_AGE = 5.0
"""Seconds after which all keys are read again, even if no process of vertune has changed them."""
_MAX_AGE_WHILE_UNREADABLE = 60.0
"""Seconds for which cached keys are used while the database can't be read; after that, no key is accepted."""
_MIN_QUERY_INTERVAL = 0.005
"""Minimum seconds between two queries for keys, so that attempts to guess a secret do not overload the database."""
_READ_TIMEOUT = 0.05
"""Seconds for which a request waits for the database, at most."""
ACTOR = "command line"
"""Who changes keys, for the audit: there is no other way."""
_REFRESH_TIMEOUT = 0.5
"""Seconds for which a request waits for the thread that reads keys, at most, unless the database is known to fail."""
_ID = re.compile(r"[0-9a-f]{12}")
_ROW_COLUMNS = [column for column in schema.keys.c if column.name != "successor"]

_StoredKey = tuple[bytes, Key | None]
"""The SHA-256 hash of the random part of a secret, and the API key to which that secret belongs."""
_UNKNOWN_ID: _StoredKey = (secrets.token_bytes(32), None)
"""The entry that secrets with unknown ids are compared with, so that the response time does not reveal which ids exist."""


class Keys:
    """The API keys in one database; safe for use from many threads and processes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._rows: dict[str, _StoredKey] = {}
        self._revision: str | None = None
        self._read_at = self._current_at = -float("inf")
        """The monotonic times at which all keys were read, and at which they were last known to be current."""
        self._revoked: dict[str, datetime] = {}
        """The time of revocation of every key that this object has seen revoked, by id."""
        self._failure: StorageError | None = None
        """Why the last query failed; None if it did not."""
        self._refreshing = threading.Lock()
        self._refreshed = threading.Condition()
        self._wanted = threading.Event()
        self._watcher: threading.Thread | None = None
        self._closed = False

    def watch(self) -> None:
        """Keep the cache up to date in a thread, so that `check` never waits for the database, except for an unknown secret."""
        self._watcher = threading.Thread(target=self._watch, name="vertune-keys", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._closed:
            try:
                self._refresh()
            except Exception as error:  # whatever it is, the thread must go on
                if self._failure is None:
                    _log.error("API keys can't be read; known keys are accepted for %g s more. %s", _MAX_AGE_WHILE_UNREADABLE, error)
                self._failure = error if isinstance(error, StorageError) else StorageError(f"API keys can't be read: {error}. Try again.")
            with self._refreshed:
                self._refreshed.notify_all()
            self._wanted.wait(_REFRESH_INTERVAL)
            self._wanted.clear()
            if self._failure is not None:
                time.sleep(_REFRESH_INTERVAL)

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
    ) -> tuple[str, Key]:
        """Create an API key; return its secret, which the client must send, and the key.

        `scopes` are the permissions of the key. `verticals` are the names of the models that it may use; None allows all.
        `customer` is the name of the organisation that owns the key; keys without one share the customer `default`. The secret
        is stored nowhere and can't be shown again. Raises ConfigError for an invalid argument, UnknownName for an unknown scope,
        and StorageError if the database can't be used.
        """
        now = utc_now()
        key = Key(
            id=_new_id(), name=checked_name(name), scopes=checked_scopes(scopes),
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
        with self._changing() as connection:
            audit.note(connection, ACTOR, "create key", key.id, {"name": key.name, "scopes": sorted(key.scopes), "customer": key.customer})
            return _insert(connection, key), key

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
        if key.state != "live":
            raise AccessError(
                f"The key '{key.name}' is {key.state}; expected a valid key. Request a new one from the operator of the server.",
                authenticated=False,
            )
        return key

    def rotate(self, id: str, overlap: timedelta) -> tuple[str, Key]:
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
        with self._changing() as connection:
            old = self._get(id)
            successor = connection.scalar(select(table.c.successor).where(table.c.id == id))
            if successor:
                raise Conflict(f"The key {id} was already replaced by the key {successor}. Rotate or revoke that key instead.")
            if old.state != "live":
                raise Conflict(
                    f"The key {id} is {old.state}; only a live key can be rotated. Create a new one: "
                    "vertune key create NAME --scope predict"
                )
            new = replace(old, id=_new_id(), created=now, expires=old.expires and now + (old.expires - old.created))
            secret = _insert(connection, new)
            end = min(old.expires or now + overlap, now + overlap)
            connection.execute(table.update().where(table.c.id == id).values(expires=format_time(end), successor=new.id))
            audit.note(connection, ACTOR, "rotate key", id, {"name": new.name, "successor": new.id})
        return secret, new

    def revoke(self, id: str) -> Key:
        """Make a key permanently invalid, and return it. Other processes refuse it at the latest `REVOCATION_DELAY` seconds later.

        If the key is already revoked, its time of revocation does not change. Raises NotFound for an unknown id, and StorageError if
        the database can't be used.
        """
        try:
            return self._revoke(id)
        except StorageError:
            if not self.database.make_room():
                raise
            return self._revoke(id)
        finally:
            self.database.renew_reserve()

    def _revoke(self, id: str) -> Key:
        table = schema.keys
        with self._changing() as connection:
            key = self._get(id)
            if not key.revoked:
                key = replace(key, revoked=utc_now())
                connection.execute(table.update().where(table.c.id == id).values(revoked=_format(key.revoked)))
                audit.note(connection, ACTOR, "revoke key", id, {"name": key.name})
        self._revoked[id] = key.revoked or utc_now()
        return key

    def all(self) -> list[Key]:
        """Return every key ever created in this database, expired and revoked ones included, oldest first."""
        return [key for _, key in self._refresh().values() if key is not None]

    def __len__(self) -> int:
        """Return the number of keys ever created, including expired and revoked ones; it is 0 only for a new database."""
        return len(self._refresh())

    def close(self) -> None:
        """Stop the thread that `watch` started."""
        self._closed = True
        self._wanted.set()
        if self._watcher is not None:
            self._watcher.join()

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """Run the `with` block in a transaction that changes keys, after all keys were read; other processes notice the change."""
        revisions = schema.revisions
        with self.database.writing() as connection:
            # first, because in PostgreSQL this lets one process after the other change keys
            connection.execute(revisions.update().where(revisions.c.name == "keys").values(value=secrets.token_hex(8)))
            self._rows = self._read(connection)
            yield connection
        self._refresh()

    def _cached_rows(self) -> dict[str, _StoredKey]:
        """Return all keys by their ids, as they were at most `REVOCATION_DELAY` seconds ago, or longer ago while they can't be read.

        Raises StorageError if they could not be read for too long.
        """
        now = time.monotonic()
        if now - self._current_at >= REVOCATION_DELAY:
            self._bring_up_to_date(now)
            if self._current_at < now and now - self._current_at >= _MAX_AGE_WHILE_UNREADABLE:
                raise self._failure or self._unanswered()
        return self._rows

    def _rows_of_now(self) -> dict[str, _StoredKey]:
        """Return all keys by their ids, as they are now or a moment later; raises StorageError if they can't be read."""
        now = time.monotonic()
        self._bring_up_to_date(now)
        if self._current_at < now:
            raise self._failure or self._unanswered()
        return self._rows

    def _bring_up_to_date(self, time_of_request: float) -> None:
        """Read the keys if they may have changed by this monotonic time; if that fails, `_current_at` stays before it."""
        if self._watcher is None:
            try:
                self._refresh(_READ_TIMEOUT if self._revision is not None else None, time_of_request)
            except StorageError as error:
                self._failure = error
        elif self._failure is None:
            with self._refreshed:
                self._wanted.set()
                self._refreshed.wait_for(lambda: self._current_at >= time_of_request or self._failure is not None, _REFRESH_TIMEOUT)

    def _unanswered(self) -> StorageError:
        return Unavailable(f"{self.database.name} did not answer in time, so the key can't be verified. Try again.")

    def _refresh(self, wait: float | None = None, needed: float = float("inf")) -> dict[str, _StoredKey]:
        """Return all keys by their ids; they are read from the database if another process may have changed them.

        `wait` is the time in seconds to wait for locks. What another thread read since the monotonic time `needed` is not read again.
        """
        with self._refreshing:
            if self._current_at >= needed:
                return self._rows
            time.sleep(max(self._current_at + _MIN_QUERY_INTERVAL - time.monotonic(), 0))
            now = time.monotonic()
            with self.database.reading(wait) as connection:
                revision = connection.scalar(select(schema.revisions.c.value).where(schema.revisions.c.name == "keys"))
                if revision != self._revision or now - self._read_at > _MAX_ROWS_AGE:
                    self._rows = self._read(connection)
                    self._revision, self._read_at = revision, now
            self._current_at, self._failure = now, None
            return self._rows

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
        if not _ID.fullmatch(id):  # it may be a secret, which no message may repeat
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


def _insert(connection: Connection, key: Key) -> str:
    """Insert a key into the database and return its new secret."""
    random_part = secrets.token_urlsafe(32)
    row = {
        "id": key.id, "hash": hashlib.sha256(random_part.encode()).digest(), "name": key.name, "scopes": " ".join(sorted(key.scopes)),
        "verticals": None if key.verticals is None else " ".join(key.verticals), "created": format_time(key.created),
        "expires": _format(key.expires), "rate": key.rate, "customer": key.customer,
    }  # fmt: skip
    connection.execute(schema.keys.insert().values(row))
    return f"vt_{key.id}_{random_part}"


def _key_of_row(row: Row[Any]) -> Key:
    return Key(
        row.id, row.name, frozenset(row.scopes.split()), None if row.verticals is None else tuple(row.verticals.split()),
        created=datetime.fromisoformat(row.created), expires=_parse(row.expires), revoked=_parse(row.revoked), rate=row.rate,
        customer=row.customer or DEFAULT_CUSTOMER,
    )  # fmt: skip


def _parse(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _format(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)


def _new_id() -> str:
    return secrets.token_hex(6)
