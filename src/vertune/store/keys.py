"""API keys in SQLite: who may do what on which vertical, and until when; knows nothing of HTTP, nor of what a vertical is.

A secret is `vt_`, the key's id, `_` and 256 random bits. Only the sha256 of those bits is stored: so many random bits can't be
guessed, which is why no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import os
import re
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from vertune.core.artifact import check_name
from vertune.core.errors import AccessError, ConfigError, Conflict, NotFound, StorageError, UnknownName
from vertune.core.files import storage_errors

Scope = Literal["predict", "feedback", "train", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
FILE = "server.db"
"""The name of the database in a home."""
_HELD: list[mmap.mmap] = []
_COUNTER = slice(8, 12)
"""Where the header of the log's index counts the transactions that wrote."""
_LOOK = 0.005
"""Seconds after which SQLite is asked whether or not its counter moved."""
_PATIENCE = 5.0
"""Seconds to wait for another process that writes."""
_ID = re.compile(r"[0-9a-f]{12}")
_RATE = re.compile(r"[1-9]\d* ?(/|per) ?([1-9]\d* ?)?(second|minute|hour|day|month|year)s?")
_TABLE = """CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL, verticals TEXT,
    created TEXT NOT NULL, expires TEXT, revoked TEXT, rate TEXT, successor TEXT)"""
_COLUMNS = "id, hash, name, scopes, verticals, created, expires, revoked, rate"


@dataclass(frozen=True, slots=True)
class Key:
    """What one key may do; times are UTC."""

    id: str
    name: str
    scopes: frozenset[str]
    verticals: tuple[str, ...] | None
    """The verticals that it is bound to; None is all of them."""
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    rate: str | None
    """How much may be asked in how long, such as 600/minute; None is no limit of its own."""

    @property
    def state(self) -> Literal["live", "expired", "revoked"]:
        """Whether it opens anything at this moment."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= _now() else "live"

    def may(self, scope: Scope, vertical: str | None = None) -> bool:
        """Whether it may do this on a vertical, by its bare name; None asks whether it may on any. An admin may all."""
        if "admin" in self.scopes:
            return True
        return scope in self.scopes and (vertical is None or self.verticals is None or vertical in self.verticals)


_NOBODY: tuple[bytes, Key | None] = (secrets.token_bytes(32), None)
"""What an unknown id is compared with, so that the time of a refusal does not tell which ids there are."""


class Keys:
    """The keys of one database; safe for many threads and processes."""

    def __init__(self, file: Path) -> None:
        """Open or make the database, readable by its owner alone; StorageError when it is damaged, locked or can't be written."""
        self.file = file
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[bytes, Key]] = {}
        self._version: int | None = None
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                self._make()
            found = file.stat()
            if stat.S_IMODE(found.st_mode) & 0o077:
                file.chmod(0o600)
        self._inode = (found.st_dev, found.st_ino)
        self._db = self._connect()
        self._changes = _changes(self.file)
        self._seen, self._until = b"", 0.0

    def _make(self) -> None:
        """Make the database beside its place and put it there, unless another was faster: several can't turn one file into a log."""
        made = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        # Closing a file drops the locks that SQLite holds on it in this process, so one that is there is not opened.
        os.close(os.open(made, os.O_CREAT | os.O_EXCL, 0o600))
        try:
            self._connect(made).close()
            try:
                os.link(made, self.file)
            except FileExistsError:
                pass
            except OSError:  # a disk without links
                made.rename(self.file)
        finally:
            made.unlink(missing_ok=True)

    def _connect(self, file: Path | None = None) -> sqlite3.Connection:
        """A connection without implicit transactions, the table made."""
        try:
            database = sqlite3.connect(file or self.file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")  # a loss of power must not bring a revoked key back
                database.execute(_TABLE)
            except sqlite3.Error:
                database.close()
                raise
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        return database

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        verticals: Iterable[str] | None = None,
        expires: datetime | None = None,
        rate: str | None = None,
    ) -> tuple[str, Key]:
        """Make a key; the secret is in no other place and can't be shown again.

        Raises ConfigError, UnknownName for a scope that there is not, StorageError.
        """
        now = _now()
        key = Key(
            id=_new_id(), name=_checked_name(name), scopes=_checked_scopes(scopes),
            verticals=None if verticals is None else tuple(dict.fromkeys(map(check_name, verticals))),
            created=now, expires=_checked_end(expires, now), revoked=None, rate=None if rate is None else checked_rate(rate),
        )  # fmt: skip
        if key.verticals == ():
            raise ConfigError("A key is for one vertical or more, or for all where none is named; an empty list came.")
        if key.verticals and "admin" in key.scopes:
            raise ConfigError("An admin may all, so its key can't be bound to verticals. Leave out the verticals, or the scope 'admin'.")
        with self._writing():
            return self._add(key), key

    def check(self, secret: str) -> Key:
        """The key of a secret; AccessError when it is unknown, expired or revoked, in words that hold no part of it.

        What another process wrote holds at once.
        """
        prefix, _, rest = secret.partition("_")
        id, _, hidden = rest.partition("_")
        digest = hashlib.sha256(hidden.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            stored, key = self._fresh().get(id, _NOBODY)
        if not hmac.compare_digest(digest, stored) or key is None or prefix != "vt":
            raise AccessError(
                "This key is not known here. Expected one that `vertune key create` made here, whole: vt_…", authenticated=False
            )
        if key.state != "live":
            raise AccessError(f"The key '{key.name}' is {key.state}. Ask who runs this server for a new one.", authenticated=False)
        return key

    def rotate(self, id: str, overlap: timedelta) -> tuple[str, Key]:
        """A new secret with the same name and rights, to live as long as the old one was made to; the old one ends after `overlap`.

        Raises NotFound, Conflict for a key that is not live or was rotated before, ConfigError, StorageError.
        """
        if overlap < timedelta(0):
            raise ConfigError(f"The old key can go on for 0 seconds or more; got {overlap.total_seconds():g}.")
        now = _now()
        with self._writing():
            old = self._one(id)
            (successor,) = self._db.execute("SELECT successor FROM keys WHERE id = ?", (id,)).fetchone()
            if successor:
                raise Conflict(f"The key {id} was rotated already, to {successor}. Rotate that one, or revoke it.")
            if old.state != "live":
                raise Conflict(f"The key {id} is {old.state}, and only a live one is rotated. Make a new one: vertune key create.")
            new = replace(old, id=_new_id(), created=now, expires=old.expires and now + (old.expires - old.created))
            secret = self._add(new)
            end = min(old.expires or now + overlap, now + overlap)
            self._db.execute("UPDATE keys SET expires = ?, successor = ? WHERE id = ?", (end.isoformat(), new.id, id))
        return secret, new

    def revoke(self, id: str) -> Key:
        """End a key at once and for good; NotFound, StorageError. One that is revoked stays so since the first time."""
        with self._writing():
            key = self._one(id)
            if not key.revoked:
                key = replace(key, revoked=_now())
                self._db.execute("UPDATE keys SET revoked = ? WHERE id = ?", (_text(key.revoked), id))
        return key

    def all(self) -> list[Key]:
        """Every key ever made here, expired and revoked ones too, oldest first."""
        with self._lock:
            return [key for _, key in self._fresh().values()]

    def __len__(self) -> int:
        """How many keys were ever made here: revoking the last one does not make a database look as if it never had any."""
        with self._lock:
            return len(self._fresh())

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._db.close()
            self._changes = None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; what is in memory is read again after it, because `data_version` does not count our own writes."""
        with self._lock:
            self._in_place()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._rows = self._read()
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    self._db.rollback()
                    raise
            except sqlite3.Error as error:
                raise self._trouble(error) from error
            finally:
                self._version = None

    def _in_place(self) -> None:
        """StorageError where another file lies there now: what is revoked in that one would never be seen here."""
        with suppress(OSError):
            found = self.file.stat()
            if (found.st_dev, found.st_ino) == self._inode:
                return
        raise StorageError(f"The database {self.file} was removed or replaced while in use. Put it back, or restart with the new one.")

    def _fresh(self) -> dict[str, tuple[bytes, Key]]:
        """The rows as they stand in the database, read again only where somebody wrote; the lock is the caller's.

        SQLite is asked only where its counter of changes moved, or some time went by: to ask it has the interpreter change threads,
        which costs a busy server more than all else of a request's way in.
        """
        now, seen = time.monotonic(), bytes(self._changes[_COUNTER]) if self._changes else b""
        if self._version is not None and seen and seen == self._seen and now < self._until:
            return self._rows
        self._in_place()
        try:
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._rows = self._read()
                self._version = version
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        self._seen, self._until = seen, now + _LOOK
        return self._rows

    def _read(self) -> dict[str, tuple[bytes, Key]]:
        try:
            return {row[0]: (bytes(row[1]), _key(row)) for row in self._db.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY created, id")}  # noqa: S608
        except (TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"The database {self.file} holds a key that can't be read: {error}. {_MEND}") from error

    def _one(self, id: str) -> Key:
        if id in self._rows:
            return self._rows[id][1]
        if not _ID.fullmatch(id):  # perhaps a secret, which no message repeats
            raise NotFound("Expected the id of a key, such as `vertune key list` shows: the 12 characters between 'vt_' and the next '_'.")
        raise NotFound(f"There is no key {id} in {self.file}. `vertune key list` shows those that there are.")

    def _add(self, key: Key) -> str:
        """Write a key inside a transaction; its secret."""
        hidden = secrets.token_urlsafe(32)
        row = (
            key.id, hashlib.sha256(hidden.encode()).digest(), key.name, " ".join(sorted(key.scopes)),
            None if key.verticals is None else " ".join(key.verticals), _text(key.created), _text(key.expires), None, key.rate,
        )  # fmt: skip
        self._db.execute(f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        return f"vt_{key.id}_{hidden}"

    def _trouble(self, error: sqlite3.Error) -> StorageError:
        """What SQLite says, with what to do about it."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits say more of the same
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return StorageError(f"Another process locked the database {self.file} for {_PATIENCE:g} s. End that process, or try again.")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return StorageError(f"Expected a database of keys in {self.file}, but it is damaged or no database: {error}. {_MEND}")
        return StorageError(f"Can't use the database {self.file}: {error}. See that its folder can be written and that the disk has room.")


_MEND = "Put a backup of it in its place, or move it away and make new keys: vertune key create."


def _changes(file: Path) -> mmap.mmap | None:
    """The index of the write-ahead log, whose header counts transactions (sqlite.org/walformat.html); None where it can't be mapped.

    It stays open as long as the process: to close it would drop SQLite's own locks on it.
    """
    with suppress(OSError, ValueError):
        made = mmap.mmap(os.open(f"{file}-shm", os.O_RDONLY), 48, access=mmap.ACCESS_READ)
        _HELD.append(made)
        return made
    return None


def _key(row: tuple[str, ...]) -> Key:
    id, _, name, scopes, verticals, created, expires, revoked, rate = row
    return Key(
        id, name, frozenset(scopes.split()), None if verticals is None else tuple(verticals.split()), datetime.fromisoformat(created),
        _time(expires), _time(revoked), rate,
    )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _new_id() -> str:
    return secrets.token_hex(6)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 80 or not name.isprintable():
        raise ConfigError(f"The name of a key says who has it, in 1 to 80 printable characters; got {name[:80]!r}.")
    return name


def _checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    found = frozenset(scopes)
    for scope in sorted(found):
        if scope not in SCOPES:
            raise UnknownName("scope", scope, SCOPES)
    if not found:
        raise ConfigError(f"A key needs one scope or more: {', '.join(SCOPES)}; none came.")
    return found


def _checked_end(expires: datetime | None, now: datetime) -> datetime | None:
    if expires is None:
        return None
    if expires.tzinfo is None:
        raise ConfigError(f"The end of a key needs a time zone; got {expires.isoformat()} without one. Write it in UTC.")
    if expires <= now:
        raise ConfigError(f"A key ends in the future; got {expires.isoformat()}.")
    return expires.astimezone(UTC)


def checked_rate(rate: str) -> str:
    """A rate as the library `limits` reads it, or as our own words for it where that is not installed."""
    try:
        from limits import parse_many
    except ImportError:
        good = bool(_RATE.fullmatch(rate))
    else:
        try:
            parsed = parse_many(rate)
            good = len(parsed) == 1 and parsed[0].amount > 0
        except ValueError:
            good = False
    if not good:
        raise ConfigError(f"A rate is a number of requests in a time, such as 600/minute or 10/second; got {rate!r}.")
    return rate
