"""Files with records that customers sent: rows as they are added, found and deleted, and where the files lie; reads no file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, func, select

from vertune.core.errors import NotFound
from vertune.core.regular import regular_file
from vertune.store import schema

FOLDER = "uploads"
"""Name of the folder of the files in the home folder."""


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
    """Delete the row of an upload; its file is deleted by the caller, once the transaction is finished."""
    connection.execute(delete(schema.uploads).where(schema.uploads.c.id == upload.id))


def path(home: Path, upload: Upload) -> Path:
    """Return the path of the file of an upload; raise StorageError if it is missing or a link."""
    return regular_file(home, FOLDER, upload.file)


def _found(row: Row[Any]) -> Upload:
    about = {name: row._mapping[name] for name in Upload.__dataclass_fields__}
    return Upload(**{**about, "report": orjson.loads(row.report)})
