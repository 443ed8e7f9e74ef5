"""Signed-in browsers: rows as they are added, found, renewed and ended, cached like API keys; knows nothing of passwords and HTTP.

A browser sends 256 random bits as a cookie. Only their SHA-256 is stored, so whoever reads the database can't take over a session. A
session belongs to a user, or to an API key: then it ends with the key, which whoever checks it looks up.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, or_, select

from vertune.core.errors import AccessError, StorageError
from vertune.store import audit, schema
from vertune.store.cached import Cached
from vertune.store.database import HOW_TO_RESTORE, Database, format_time
from vertune.store.key import utc_now
from vertune.store.user import SCOPES, User
from vertune.store.users import find

KEY = "key:"
"""What the id of an API key follows where the session belongs to a key instead of a user."""
_RENEWED_AFTER = timedelta(hours=1)
"""Time after which a session gets a new cookie."""
_OVERLAP = timedelta(minutes=1)
"""Time for which the previous cookie is accepted, because requests may be under way."""
_MOST = 50
"""Maximum number of sessions of one owner; the oldest ends when another one begins."""
_SEEN_INTERVAL = 60.0
"""Seconds between two writes of when sessions were used last."""
_WRITE_TIMEOUT = 0.05
"""Seconds for which that waits for the database; it is tried again later."""


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser; times are in UTC."""

    id: str
    """The SHA-256 of the cookie, in hexadecimal."""
    owner: str
    """The id of the user, or `key:` and the id of an API key."""
    token: str
    """What requests that change something must send too, as proof that no other site makes the browser send them (CSRF)."""
    created: datetime
    """When the cookie was made."""
    seen: datetime
    """When the session was used last, as far as it is stored."""
    expires: datetime
    """When it ends, however much it is used."""
    user: User | None = None
    """The user; None for a session of an API key."""

    @property
    def key(self) -> str | None:
        """The id of the API key to which the session belongs; None for a session of a user."""
        return self.owner.removeprefix(KEY) if self.owner.startswith(KEY) else None


class Sessions(Cached[Mapping[str, Session]]):
    """The sessions in one database; safe for use from many threads and processes."""

    revision = "sessions"
    what = "Sessions"

    def __init__(self, database: Database, idle: timedelta = timedelta(hours=8), longest: timedelta = timedelta(days=7)) -> None:
        """A session ends when it was not used for the time `idle`, and in any case after the time `longest`."""
        super().__init__(database, {})
        self._idle, self._longest = idle, longest
        self._used: dict[str, datetime] = {}
        """By id, when sessions were used on this server since that was written to the database."""
        self._next_write = time.monotonic() + _SEEN_INTERVAL

    def begin(self, connection: Connection, owner: str, actor: str, previous: str | None = None) -> tuple[str, Session]:
        """Sign a browser in, within `changing`, and return its cookie and the session; the audit tells it.

        `owner` is the id of a user, or `key:` and that of an API key; `actor` is its name in the audit; `previous` is the cookie that the
        browser had before, which is valid no more. Sessions that have ended, or are too many of one owner, are deleted.
        """
        now, table = utc_now(), schema.sessions
        gone = or_(table.c.expires <= format_time(now), table.c.seen <= format_time(now - self._idle))
        if previous is not None:
            gone = or_(gone, table.c.id == _hash(previous))
        connection.execute(delete(table).where(gone))
        oldest = select(table.c.id).where(table.c.user == owner).order_by(table.c.created.desc(), table.c.id).offset(_MOST - 1).limit(_MOST)
        connection.execute(delete(table).where(table.c.id.in_(list(connection.scalars(oldest)))))
        cookie = secrets.token_urlsafe(32)
        session = Session(_hash(cookie), owner, secrets.token_urlsafe(32), now, seen=now, expires=now + self._longest)
        connection.execute(table.insert().values(_row(session)))
        audit.note(connection, actor, "sign in", actor, {})
        return cookie, session

    def check(self, cookie: str) -> Session:
        """Return the session of a cookie, and note that it is used; no query is made for it, unless it is unknown.

        Raises AccessError for a session that does not exist or has ended, and StorageError if the database can't be read.
        """
        id = _hash(cookie)
        session = self._cached_rows().get(id) or self._rows_of_now().get(id)
        now = utc_now()
        if session is None or session.expires <= now or max(session.seen, self._used.get(id, session.seen)) <= now - self._idle:
            raise AccessError("The session has ended; expected one of a browser that is signed in. Sign in again.", authenticated=False)
        self._used[id] = now
        return session

    def renew(self, session: Session) -> str | None:
        """Return a new cookie for a session whose cookie has been in use for an hour; None if it has not. The token stays.

        The previous cookie is accepted for another minute. Of several requests at the same time, one gets the new cookie.
        """
        now, table = utc_now(), schema.sessions
        if now - session.created < _RENEWED_AFTER or session.expires - now <= _OVERLAP:
            return None
        cookie = secrets.token_urlsafe(32)
        with self.changing() as connection:
            mine = (table.c.id == session.id) & (table.c.expires == format_time(session.expires))
            if not connection.execute(table.update().where(mine).values(expires=format_time(now + _OVERLAP))).rowcount:
                return None
            connection.execute(table.insert().values(_row(replace(session, id=_hash(cookie), created=now, seen=now))))
        return cookie

    def end(self, session: Session) -> None:
        """Sign a browser out; the session and the cookie that it was renewed from end."""
        table = schema.sessions.c
        with self.changing() as connection:
            connection.execute(delete(schema.sessions).where(table.user == session.owner, table.token == session.token))

    def _tend(self) -> None:
        """Write now and then when sessions were used last; it is no change that other processes must know of at once."""
        if time.monotonic() >= self._next_write:
            self._next_write = time.monotonic() + _SEEN_INTERVAL
            with suppress(StorageError):
                self.write_seen()

    def write_seen(self) -> None:
        """Write when sessions were used last."""
        rows, table = self._rows, schema.sessions
        used = {id: at for id, at in self._used.copy().items() if id in rows}
        if used:
            with self.database.writing(_WRITE_TIMEOUT) as connection:
                written = table.update().where(table.c.id == bindparam("used")).values(seen=bindparam("at"))
                connection.execute(written, [{"used": id, "at": format_time(at)} for id, at in used.items()])
        for id in self._used.copy():
            if id not in rows:
                self._used.pop(id, None)

    def _read(self, connection: Connection) -> Mapping[str, Session]:
        """Return the sessions that have not ended, by their ids; none of a user who may not sign in, or does not exist."""
        people = {user.id: user for user in find(connection) if user.role in SCOPES and not user.disabled}
        table = schema.sessions
        try:
            rows = connection.execute(select(table).where(table.c.expires > format_time(utc_now())))
            sessions = [_session_of(row, people.get(row.user)) for row in rows]
        except (TypeError, ValueError) as error:
            raise StorageError(f"{self.database.name} contains a session that can't be read: {error}. {HOW_TO_RESTORE}") from error
        return {one.id: one for one in sessions if one.user is not None or one.key is not None}


def _session_of(row: Row[Any], user: User | None) -> Session:
    created, seen, expires = (datetime.fromisoformat(text) for text in (row.created, row.seen, row.expires))
    return Session(row.id, row.user, row.token, created, seen, expires=expires, user=user)


def _row(session: Session) -> dict[str, Any]:
    times = {"created": format_time(session.created), "seen": format_time(session.seen), "expires": format_time(session.expires)}
    return {"id": session.id, "user": session.owner, "token": session.token, **times}


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
