"""Copies a home and the database of its server into one file while the server runs, and makes an empty home of such a file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from vertune import __version__
from vertune.core.artifact import Home
from vertune.core.errors import Conflict, DataError, StorageError
from vertune.core.files import new_folder, storage_errors
from vertune.core.regular import check_tree, is_present
from vertune.store import schema
from vertune.store.database import FILE, Database

_LIST = "backup.json"
"""The last entry of a backup: the format, and the SHA-256 of each other entry."""
_FORMAT = 1
_FOLDERS = ("aliases", "backbones", "datasets", "models", "outputs", "products", "reports", "tests", "uploads")
"""What of a home is copied; what is being written (`runs`) is not."""
_OF_PROCESSES = (schema.secrets, schema.revisions, schema.leases)
"""The tables that have rows as soon as a server has opened the database; a database is empty if no other one has any."""
_LIST_BYTES = 256 << 20
"""Maximum size of this entry, which is read into memory: enough for a million files."""
_CHUNK = 1 << 20
_ROWS = 5000
"""Number of rows that are copied between two databases at a time."""


def backup(home: Home, database: Database, file: Path) -> int:
    """Write the home and its database into one file, and return the size of the file in bytes. The server may go on.

    The database is copied in the state of one moment; models, datasets and reports never change once they are complete. The file is
    written under another name first, and only its owner may read it. Raises Conflict if the file exists, and StorageError if something
    can't be read or written.
    """
    if file.exists():
        raise Conflict(f"The file {file} exists already. Choose another name, or move it away.")
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                hashes: dict[str, str] = {}
                for name, source in _entries(home):  # first, so that an alias never points to a model that is not in the file
                    _add(archive, name, source, hashes)
                with tempfile.TemporaryDirectory(dir=file.parent) as folder:
                    copy = Path(folder) / FILE
                    snapshot(database, copy)
                    _add(archive, FILE, copy, hashes)
                _add_list(archive, hashes)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    return file.stat().st_size


def restore(file: Path, home: Home, url: str | None = None) -> None:
    """Make an empty or missing folder the home that a backup contains, with its database, or fill an empty PostgreSQL database.

    Each entry is compared with its hash before anything has its final name. Raises Conflict if the home or the database contains
    something, and DataError if the file is no backup, is damaged, or is of a newer version.
    """
    with new_folder(home.folder) as folder:
        _unpack(file, folder)
        if url:
            with closing(Database(folder / FILE)) as source, closing(Database(url)) as target:
                _fill(source, target)
            for left in folder.glob(f"{FILE}*"):
                left.unlink()
        else:
            Database(folder / FILE).close()  # migrates it, so that a damaged one is noticed now


def snapshot(database: Database, file: Path) -> None:
    """Copy a database, in the state of one moment, into a new SQLite file, without sessions: people sign in again after a restore."""
    if database.file is not None:
        with database.reading() as connection:
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)
            with closing(sqlite3.connect(file)) as target:
                source.backup(target)
                target.execute("PRAGMA secure_delete = ON")
                target.execute("DELETE FROM sessions")
                target.commit()
        return
    with closing(Database(file)) as target:
        _fill(database, target, empty=False)


def _fill(source: Database, target: Database, empty: bool = True) -> None:
    """Copy all rows but sessions from one database into another, in one transaction of each."""
    with source.reading() as reading, target.writing() as writing:
        for table in schema.metadata.sorted_tables:
            if empty and table not in _OF_PROCESSES and writing.execute(table.select().limit(1)).first() is not None:
                raise Conflict(f"{target.name} contains rows in the table {table.name}; expected an empty one. Create a new database.")
        if reading.dialect.name == "postgresql":
            reading.exec_driver_sql("SET LOCAL statement_timeout = 0")
        streaming = {"stream_results": True, "yield_per": _ROWS}
        for table in schema.metadata.sorted_tables:
            writing.execute(table.delete())
            if table is schema.sessions:
                continue
            for rows in reading.execute(table.select(), execution_options=streaming).mappings().partitions(_ROWS):
                writing.execute(table.insert(), [dict(row) for row in rows])


def _entries(home: Home) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each file of a home that is copied; models that are not complete are left out."""
    for name in _FOLDERS:
        if not is_present(home.folder, name):
            continue
        check_tree(home.folder, name)
        for folder, folders, files in os.walk(home.folder / name):
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            for one in sorted(files):
                if not one.startswith("."):
                    path = Path(folder, one)
                    yield path.relative_to(home.folder).as_posix(), path


def _add(archive: tarfile.TarFile, name: str, source: Path, hashes: dict[str, str]) -> None:
    """Add a file to the archive; one that was deleted meanwhile is left out."""
    try:
        stream = source.open("rb")
    except FileNotFoundError:
        return
    with stream:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = os.fstat(stream.fileno()).st_size, int(source.stat().st_mtime), 0o600
        reader = _Hashing(stream)
        archive.addfile(info, reader)  # it needs `read` alone
        hashes[name] = reader.digest.hexdigest()


def _add_list(archive: tarfile.TarFile, hashes: dict[str, str]) -> None:
    listed = {"format": _FORMAT, "vertune": __version__, "created": datetime.now(UTC).isoformat(), "files": hashes}
    content = json.dumps(listed, indent=1).encode()
    info = tarfile.TarInfo(_LIST)
    info.size, info.mode = len(content), 0o600
    archive.addfile(info, io.BytesIO(content))


class _Hashing:
    """Reads a stream and computes the SHA-256 of what is read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.digest.update(content)
        return content


def _unpack(file: Path, folder: Path) -> None:
    """Write the entries of a backup below a folder, and compare them with their hashes."""
    found: dict[str, str] = {}
    listed: dict[str, Any] | None = None
    try:
        with tarfile.open(file, "r|") as archive:
            for info in archive:
                stream = archive.extractfile(info) if info.isreg() else None
                if stream is None or listed is not None:
                    raise DataError(
                        f"{file} is not a backup: the entry '{info.name[:80]}' is not expected. Choose a file of `vertune backup`."
                    )
                if info.name == _LIST:
                    listed = _parsed(stream)
                else:
                    found[info.name] = _write(stream, _target(folder, info.name, file))
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        raise DataError(f"{file} can't be read as a backup: {error}. Choose a complete file of `vertune backup`.") from error
    except OSError as error:
        raise StorageError(f"{file} can't be restored: {error.strerror or error}. Check the file and the free space.") from error
    if listed is None or not isinstance(listed.get("format"), int) or listed["format"] > _FORMAT:
        raise DataError(f"{file} is incomplete, or was written by a newer version of vertune. Choose a complete file, or upgrade vertune.")
    hashes = listed.get("files")
    if found != hashes:
        written = hashes if isinstance(hashes, dict) else {}
        wrong = min(name for name in {*found, *written} or {_LIST} if found.get(name) != written.get(name, 0))
        raise DataError(f"{file} is damaged: the entry '{wrong[:80]}' is not as it was written. Choose another backup.")


def _parsed(stream: IO[bytes]) -> dict[str, Any]:
    """Return the list of a backup; raise ValueError if it is none."""
    content = stream.read(_LIST_BYTES + 1)
    listed = json.loads(content) if len(content) <= _LIST_BYTES else None
    if not isinstance(listed, dict):
        raise ValueError(f"{_LIST} is no list of its entries")
    return listed


def _target(folder: Path, name: str, file: Path) -> Path:
    """Return where an entry is written; raise DataError if its name leads out of the folder or is none that a backup contains."""
    parts = name.split("/")
    if any(not part or part.startswith(".") for part in parts) or "\\" in name or (name != FILE and parts[0] not in _FOLDERS):
        raise DataError(f"{file} is not a backup: the entry '{name[:80]}' has an unexpected name. Choose a file of `vertune backup`.")
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(stream: IO[bytes], path: Path) -> str:
    """Write a stream into a new file, and return the SHA-256 of its content."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if path.name == FILE else 0o644), "wb") as target:
        while content := stream.read(_CHUNK):
            digest.update(content)
            target.write(content)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()
