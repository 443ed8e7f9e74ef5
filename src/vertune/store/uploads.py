"""Files with records that customers sent: rows as they are added and found, and where the files lie until both go; reads no file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, func, select

from vertune.core.errors import NotFound
from vertune.core.files import storage_errors
from vertune.core.regular import is_present, regular_file
from vertune.store import schema
from vertune.store.audit import note
from vertune.store.database import Database

FOLDER = "uploads"
"""Name of the folder of the files in the home folder."""
_LONGEST_RECEIPT = 3600.0
"""Seconds after its last change from which a file without a row belongs to no request that still runs."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file with records."""

    id: str
    at: str
    customer: str
    name: str
    """What the customer calls it."""
    format: str
    """The name of the source that reads it."""
    hash: str
    """The SHA-256 of the file."""
    bytes: int
    report: dict[str, Any]
    """What was found in it."""

    @property
    def file(self) -> str:
        """The name of the file in the folder of the uploads."""
        return f"{self.id}.{self.format}"


def add(connection: Connection, upload: Upload, key: str | None) -> None:
    """Add an upload whose file is in its place."""
    row = {name: getattr(upload, name) for name in Upload.__dataclass_fields__}
    connection.execute(schema.uploads.insert().values({**row, "key": key, "report": orjson.dumps(upload.report, default=str).decode()}))


def get(connection: Connection, id: str, customer: str | None) -> Upload:
    """Return an upload of a customer, or with None of any; raise NotFound if there is none with this id."""
    row = connection.execute(select(schema.uploads).where(schema.uploads.c.id == id)).one_or_none()
    if row is None or customer not in (None, row.customer):
        raise NotFound(f"There is no uploaded dataset with the id '{id[:80]}'. List them with GET /v1/datasets.")
    return _found(row)


def find(connection: Connection, customer: str | None, before: str | None, limit: int) -> list[Upload]:
    """Return uploads, newest first, at most `limit`; only those with smaller ids than `before`, if it is given."""
    table = schema.uploads.c
    conditions = [*([] if customer is None else [table.customer == customer]), *([] if before is None else [table.id < before])]
    return [_found(row) for row in connection.execute(select(schema.uploads).where(*conditions).order_by(table.id.desc()).limit(limit))]


def count(connection: Connection, customer: str) -> int:
    """Return how many files a customer has."""
    return int(
        connection.execute(select(func.count()).select_from(schema.uploads).where(schema.uploads.c.customer == customer)).scalar_one()
    )


def remove(connection: Connection, upload: Upload) -> None:
    """Delete the row of an upload, whose file is deleted already."""
    connection.execute(delete(schema.uploads).where(schema.uploads.c.id == upload.id))


def delete_upload(database: Database, home: Path, upload: Upload, actor: str) -> None:
    """Delete an upload and tell the audit: first the file, so that a row remains for whoever repeats what was interrupted."""
    file = home / FOLDER / upload.file
    with storage_errors(file):
        file.unlink(missing_ok=True)
    with database.writing() as connection:
        remove(connection, upload)
        note(connection, actor, "delete", f"dataset {upload.id}", {})


def delete_leftovers(database: Database, home: Path) -> None:
    """Delete files that were received by a server that died before it added their rows."""
    folder = home / FOLDER
    if not is_present(home, FOLDER):
        return
    old = [path for path in folder.iterdir() if time.time() - path.lstat().st_mtime > _LONGEST_RECEIPT]
    if not old:
        return
    with database.reading() as connection:  # after the files are listed, so that a row that is added meanwhile is seen
        kept = {f"{row.id}.{row.format}" for row in connection.execute(select(schema.uploads.c.id, schema.uploads.c.format))}
    for path in old:
        if path.name not in kept:
            with storage_errors(path):
                path.unlink(missing_ok=True)


def path(home: Path, upload: Upload) -> Path:
    """Return the path of the file of an upload; raise StorageError if it is missing or a link."""
    return regular_file(home, FOLDER, upload.file)


def _found(row: Row[Any]) -> Upload:
    about = {name: row._mapping[name] for name in Upload.__dataclass_fields__}
    return Upload(**{**about, "report": orjson.loads(row.report)})
