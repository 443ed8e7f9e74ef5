"""Stores API keys in SQLite, each with its permissions and its expiry; independent of HTTP and models.

A client sends the secret of its key: `vt_`, the id of the key, `_`, and 256 random bits in base64. Only the SHA-256 hash of the
random bits is stored. They can't be guessed, so no slow password hash is needed.

The contents of the database are cached for `REVOCATION_DELAY` seconds. A key that another process revokes may therefore be accepted
for this time. A key that another process creates works at once.

The database uses a rollback journal, so that between two transactions it is exactly one file. With a write-ahead log, SQLite would
need two more files: without them a revocation is lost, and a process that reads them ends when they are cut.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import secrets
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from vertune.core.artifact import check_name
from vertune.core.errors import AccessError, ConfigError, Conflict, NotFound, StorageError
from vertune.core.files import storage_errors
from vertune.core.regular import is_present, regular_file
from vertune.store.key import Key, checked_expiry, checked_name, checked_rate, checked_scopes, utc_now

FILE = "server.db"
"""File name of the database in the home folder (.vertune)."""
REVOCATION_DELAY = 0.5
"""Seconds for which cached keys are used before the database is queried again."""
_MAX_CONNECTION_AGE = 5.0
"""Seconds after which the database is opened again, even if none of its files has visibly changed."""
_MAX_AGE_WHILE_LOCKED = 5.0
"""Seconds for which cached keys are used while another process keeps the database locked; after that, no key is accepted."""
_RESERVE = 64 << 10
"""Size in bytes of the file that is deleted to make room for a revocation when the disk is full."""
_LOW_SPACE = 1 << 20
"""Free bytes on the disk below which it counts as full."""
_MIN_QUERY_INTERVAL = 0.005
"""Minimum seconds between database queries for unknown secrets, so that attempts to guess a secret do not overload the database."""
_BUSY_TIMEOUT = 5.0
"""Seconds for which a write, and the first read, waits while another process holds the lock of the database."""
_READ_TIMEOUT = 0.05
"""Seconds for which a later read waits. Requests wait for it, and other processes need the lock only for the end of a transaction."""
_ID = re.compile(r"[0-9a-f]{12}")
_TABLE = """CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL, verticals TEXT,
    created TEXT NOT NULL, expires TEXT, revoked TEXT, rate TEXT, successor TEXT)"""
_COLUMNS = "id, hash, name, scopes, verticals, created, expires, revoked, rate"
_HOW_TO_RESTORE = "Restore a backup, or move the file away and create new keys: vertune key create NAME --scope predict"


_StoredKey = tuple[bytes, Key | None]
"""The SHA-256 hash of the random part of a secret, and the API key to which that secret belongs."""
_UNKNOWN_ID: _StoredKey = (secrets.token_bytes(32), None)
"""The entry that secrets with unknown ids are compared with, so that the response time does not reveal which ids exist."""


def database_of(folder: Path) -> Path:
    """Return the path of the database in a home folder, whether or not it exists; raise StorageError if a link or a folder is there."""
    return regular_file(folder, FILE) if is_present(folder, FILE) else folder / FILE


class Keys:
    """The API keys in one database file; safe for use from many threads and processes."""

    def __init__(self, file: Path) -> None:
        """Open a database file, or create it if it does not exist; only the owner of the file may read it.

        Raises StorageError if the database is damaged, locked or not writable.
        """
        self.file = file
        self._lock = threading.Lock()
        self._rows: dict[str, _StoredKey] = {}
        self._revoked: dict[str, datetime] = {}
        """The time of revocation of every key that this object has seen revoked, by id."""
        self._read_at = -float("inf")
        if not file.exists():
            with storage_errors(file):
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._create_database()
        with suppress(OSError):  # on a read-only disk, where nobody can be kept from reading it
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                file.chmod(0o600)
        self._open()
        self._write_reserve()

    def _create_database(self) -> None:
        """Create the database under a temporary name, then give it its final name.

        So no other process can open a database that is only partly created.
        """
        temporary = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        # Closing any descriptor of a file drops the locks that SQLite holds on it in this process, so only a new file is opened here.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o600))
        try:
            _database, _ = self._connect(temporary)
            _database.close()
            try:
                os.link(temporary, self.file)
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                temporary.rename(self.file)
        finally:
            temporary.unlink(missing_ok=True)

    def _open(self, timeout: float = _BUSY_TIMEOUT) -> None:
        """Connect to the database file, and store the identities of its files, by which a later replacement is noticed.

        `timeout` is the time in seconds to wait for the locks of other processes.
        """
        identity = _identity(self.file)  # read first, so that the next query notices if the file is replaced meanwhile
        self._db, self.writable = self._connect(self.file, timeout)
        self._identities = (identity, *map(_identity, self._log_files))
        self._version: int | None = None
        self._opened_at, self._queried_at = time.monotonic(), -float("inf")

    @property
    def _log_files(self) -> tuple[Path, Path]:
        """The write-ahead log and its index, which exist only while an older version of vertune has the database open."""
        return self.file.with_name(f"{self.file.name}-wal"), self.file.with_name(f"{self.file.name}-shm")

    def _connect(self, file: Path, timeout: float = _BUSY_TIMEOUT) -> tuple[sqlite3.Connection, bool]:
        """Connect to a database file, without implicit transactions, and create the table of keys if it is missing.

        Returns the connection, and whether the database can be written. It can't on a read-only disk.
        """
        writable = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
        log = file.with_name(f"{file.name}-wal")
        logged = log.exists() and log.stat().st_size > 0
        # mode=rw creates no file; only `immutable` reads, on a read-only disk, what an older version wrote with a write-ahead log
        mode = "mode=rw" if writable else "mode=ro" if logged else "mode=ro&immutable=1"
        try:
            uri = f"{file.absolute().as_uri()}?{mode}"
            database = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                if writable:
                    with suppress(sqlite3.OperationalError):  # an older version has the database open, with a write-ahead log
                        database.execute("PRAGMA journal_mode = DELETE")
                    _wait_for_locks(database, timeout)
                    database.execute("PRAGMA synchronous = FULL")  # a power failure must not bring a revoked key back
                    database.execute(_TABLE)
            except sqlite3.Error:
                database.close()
                raise
        except sqlite3.Error as error:
            raise self._storage_error(error) from error
        return database, writable

    @property
    def _reserve(self) -> Path:
        return self.file.with_name(f"{self.file.name}-reserve")

    def _write_reserve(self) -> None:
        """Write the file that is deleted to make room for a revocation when the disk is full, unless it exists or can't be written."""
        if not self.writable or self._reserve.exists():
            return
        with suppress(OSError):
            descriptor = os.open(self._reserve, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, secrets.token_bytes(_RESERVE))  # random, because some file systems do not store zeros
            finally:
                os.close(descriptor)

    def trouble(self) -> str:
        """Return why keys can't be created at the moment, for example because the disk is full; empty if they can be created."""
        if not self.writable:
            return "the disk of the keys is read-only: keys can be neither created nor revoked"
        try:
            free = shutil.disk_usage(self.file.parent).free
        except OSError as error:
            return f"the disk of the keys can't be read: {error.strerror}"
        return "" if free >= _LOW_SPACE else f"the disk of the keys is full ({free} bytes free): keys can be revoked, but not created"

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        verticals: Iterable[str] | None = None,
        expires: datetime | None = None,
        rate: str | None = None,
    ) -> tuple[str, Key]:
        """Create an API key; return its secret, which the client must send, and the key.

        `scopes` are the permissions of the key. `verticals` are the names of the models that it may use; None allows all. The secret
        is stored nowhere and can't be shown again. Raises ConfigError for an invalid argument, UnknownName for an unknown scope,
        and StorageError if the database can't be used.
        """
        now = utc_now()
        key = Key(
            id=_new_id(), name=checked_name(name), scopes=checked_scopes(scopes),
            verticals=None if verticals is None else tuple(dict.fromkeys(map(check_name, verticals))),
            created=now, expires=checked_expiry(expires, now), revoked=None, rate=None if rate is None else checked_rate(rate),
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
        with self._transaction():
            return self._insert(key), key

    def check(self, secret: str) -> Key:
        """Return the API key to which a secret belongs, if it is neither expired nor revoked.

        Raises AccessError for an unknown, expired or revoked key, with a message that contains no part of the secret, and
        StorageError if the database can't be read.
        """
        prefix, _, rest = secret.partition("_")
        id, _, random_part = rest.partition("_")
        digest = hashlib.sha256(random_part.encode("utf-8", "surrogatepass")).digest()
        # A secret that the cache does not know may have been created a moment ago by another process.
        key = self._matching(id, digest, REVOCATION_DELAY) or self._matching(id, digest, _MIN_QUERY_INTERVAL)
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

    def _matching(self, id: str, digest: bytes, max_age: float) -> Key | None:
        """Return the key with this id if its secret has this SHA-256 hash, else None; cached rows may be `max_age` seconds old.

        The comparison takes as long for an unknown id as for a known one, so its time does not reveal which ids exist.
        """
        with self._lock:
            stored, key = self._rows_not_older_than(max_age).get(id, _UNKNOWN_ID)
        return key if hmac.compare_digest(digest, stored) else None

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
        now = utc_now()
        with self._transaction():
            old = self._get(id)
            (successor,) = self._db.execute("SELECT successor FROM keys WHERE id = ?", (id,)).fetchone()
            if successor:
                raise Conflict(f"The key {id} was already replaced by the key {successor}. Rotate or revoke that key instead.")
            if old.state != "live":
                raise Conflict(
                    f"The key {id} is {old.state}; only a live key can be rotated. Create a new one: "
                    "vertune key create NAME --scope predict"
                )
            new = replace(old, id=_new_id(), created=now, expires=old.expires and now + (old.expires - old.created))
            secret = self._insert(new)
            end = min(old.expires or now + overlap, now + overlap)
            self._db.execute("UPDATE keys SET expires = ?, successor = ? WHERE id = ?", (end.isoformat(), new.id, id))
        return secret, new

    def revoke(self, id: str) -> Key:
        """Make a key permanently invalid, and return it. Other processes refuse it at the latest `REVOCATION_DELAY` seconds later.

        If the key is already revoked, its time of revocation does not change. Raises NotFound for an unknown id, and StorageError if
        the database can't be used.
        """
        try:
            return self._revoke(id)
        except StorageError:
            if not self._reserve.exists():
                raise
            with suppress(OSError):
                self._reserve.unlink()  # makes room if the disk is full
            return self._revoke(id)
        finally:
            self._write_reserve()

    def _revoke(self, id: str) -> Key:
        with self._transaction():
            key = self._get(id)
            if not key.revoked:
                key = replace(key, revoked=utc_now())
                self._db.execute("UPDATE keys SET revoked = ? WHERE id = ?", (_format_time(key.revoked), id))
        self._revoked[id] = key.revoked or utc_now()
        return key

    def all(self) -> list[Key]:
        """Return every key ever created in this database, expired and revoked ones included, oldest first."""
        with self._lock:
            return [key for _, key in self._rows_not_older_than(0).values() if key is not None]

    def __len__(self) -> int:
        """Return the number of keys ever created, including expired and revoked ones; it is 0 only for a new database."""
        with self._lock:
            return len(self._rows_not_older_than(0))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the `with` block in one write transaction, which is rolled back if the block raises an exception.

        Before the block, the cached rows (`_rows`) are read from the database again.
        """
        with self._lock:
            self._reopen_if_changed()
            try:
                _wait_for_locks(self._db, _BUSY_TIMEOUT)
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._rows = self._read()
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    self._db.rollback()
                    raise
            except sqlite3.Error as error:
                raise self._storage_error(error) from error
            finally:
                # `data_version` does not count the writes of its own connection.
                self._version, self._queried_at = None, -float("inf")

    def _reopen_if_changed(self, timeout: float = _BUSY_TIMEOUT) -> None:
        """Open the database again if one of its files was replaced, or after `_MAX_CONNECTION_AGE`; the caller holds the lock.

        `timeout` is the time in seconds to wait for the locks of other processes.

        A restored backup replaces the file. Raises StorageError if the file does not exist. Raises it too if the write-ahead log of
        the previous file is still there, because SQLite would apply that log to the new file.
        """
        identities = (_identity(self.file), *map(_identity, self._log_files))
        if identities[0] is None:
            raise StorageError(f"The database {self.file} was removed while in use, so no key can be verified. Put the file back.")
        if identities == self._identities and time.monotonic() - self._opened_at < _MAX_CONNECTION_AGE:
            return
        replaced = identities[0] != self._identities[0]
        if replaced and identities[1] is not None and identities[1] == self._identities[1]:
            log, index = self._log_files
            raise StorageError(
                f"The database {self.file} was replaced while in use, but the write-ahead log of the previous one is still there; SQLite "
                f"would apply it to the new one. Delete {log.name} and {index.name}."
            )
        if not replaced and any(old is not None and old != new for old, new in zip(self._identities, identities, strict=True)):
            raise StorageError(
                f"The write-ahead log of the database {self.file} was removed while an older version of vertune has it open, so a "
                "revocation may be missing. Stop all processes that use the database, and start them again."
            )
        previous = self._db
        self._open(timeout)
        previous.close()

    def _rows_not_older_than(self, max_age: float) -> dict[str, _StoredKey]:
        """Return all rows of the table of keys, by key id, as they were at most `max_age` seconds ago; the caller holds the lock.

        Rows are cached, because even a short query makes the interpreter switch threads. On a busy server, that takes longer than
        everything else that is done to check a key.
        """
        now = time.monotonic()
        if now - self._queried_at < max_age:
            return self._rows
        timeout = _READ_TIMEOUT if math.isfinite(self._read_at) else _BUSY_TIMEOUT  # before the first read, nothing is cached
        try:
            self._reopen_if_changed(timeout)
            _wait_for_locks(self._db, timeout)
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._rows = self._read()
                self._version = version
        except (sqlite3.Error, StorageError) as error:
            cause = error if isinstance(error, sqlite3.Error) else error.__cause__
            unchanged = _identity(self.file) == self._identities[0]
            if unchanged and _is_busy(cause) and now - self._read_at < _MAX_AGE_WHILE_LOCKED:
                self._queried_at = now
                return self._rows
            if isinstance(error, StorageError):
                raise
            raise self._storage_error(error) from error
        self._queried_at = self._read_at = now
        return self._rows

    def _read(self) -> dict[str, _StoredKey]:
        """Return all rows of the table of keys, by key id.

        A key that was seen revoked stays revoked, even if the file is replaced by one in which it is not.
        """
        try:
            rows: dict[str, _StoredKey] = {
                row[0]: (bytes(row[1]), _key_of_row(row))
                for row in self._db.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY created, id")  # noqa: S608
            }
        except (TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"The database {self.file} contains a key that can't be read: {error}. {_HOW_TO_RESTORE}") from error
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
        raise NotFound(f"There is no key {id} in {self.file}. List the keys: vertune key list")

    def _insert(self, key: Key) -> str:
        """Insert a key into the database and return its new secret; the caller has begun a transaction."""
        random_part = secrets.token_urlsafe(32)
        row = (
            key.id, hashlib.sha256(random_part.encode()).digest(), key.name, " ".join(sorted(key.scopes)),
            None if key.verticals is None else " ".join(key.verticals),
            _format_time(key.created), _format_time(key.expires), None, key.rate,
        )  # fmt: skip
        self._db.execute(f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        return f"vt_{key.id}_{random_part}"

    def _storage_error(self, error: sqlite3.Error) -> StorageError:
        """Convert an error of SQLite to a StorageError whose message contains advice on how to fix the problem."""
        if _is_busy(error):
            return StorageError(
                f"The database {self.file} is locked by another process, which did not finish in time. Stop that process, or try again."
            )
        code = _code(error)
        if code == sqlite3.SQLITE_READONLY:
            return StorageError(f"The database {self.file} can't be changed, because its disk is read-only. Make the disk writable.")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return StorageError(f"The file {self.file} is damaged or not a database of keys: {error}. {_HOW_TO_RESTORE}")
        return StorageError(f"The database {self.file} can't be used: {error}. Check that its folder is writable and the disk not full.")


def _code(error: BaseException | None) -> int:
    """Return the primary error code of SQLite; 0 if the error has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the upper bits hold the extended code


def _wait_for_locks(database: sqlite3.Connection, seconds: float) -> None:
    """Let the next statements of a connection wait up to `seconds` for the locks of other processes."""
    database.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


def _is_busy(error: BaseException | None) -> bool:
    """Return whether SQLite raised the error because another process has locked the database."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _identity(file: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, which change if the file is replaced; None if it does not exist."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _key_of_row(row: tuple[str, ...]) -> Key:
    id, _, name, scopes, verticals, created, expires, revoked, rate = row
    return Key(
        id, name, frozenset(scopes.split()), None if verticals is None else tuple(verticals.split()),
        created=datetime.fromisoformat(created), expires=_parse_time(expires), revoked=_parse_time(revoked), rate=rate,
    )  # fmt: skip


def _parse_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _format_time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _new_id() -> str:
    return secrets.token_hex(6)
