"""`/v1/datasets`: takes, lists and deletes files with records; does not depend on how they are stored and read."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.errors import Busy, Conflict
from vertune.server import problems, rows, uploading
from vertune.server.access import call_of
from vertune.server.body import UnsupportedBody
from vertune.server.resource import Resource
from vertune.server.stored import actor_of, customer_of, database_of, jobs_of
from vertune.store import uploads
from vertune.store.audit import note
from vertune.store.storable import Storable

resource = Resource("datasets")
_LARGEST = 1 << 40
"""Size of a body in bytes from which it is refused before the setting `jobs.upload` is looked at."""
_READING = threading.BoundedSemaphore(2)
"""Limits how many processes read rows at the same time."""
_PATIENCE = 10.0
"""Seconds that a request waits for this."""
_CONTENT = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in uploading.FORMATS}


class DatasetReport(BaseModel):
    """What is in a file."""

    rows: int
    """Number of rows that can be read."""
    columns: list[str]
    unreadable: int
    """Number of rows that can't be read."""
    unreadable_rows: list[dict[str, Any]]
    """The first of them, each with its number and the reason."""
    guess: dict[str, Any] | None
    """The task for which the rows seem to be made, and the columns of its fields; null if none fits."""
    notes: list[str]
    source: dict[str, Any]
    """How the file is read, such as its encoding."""


class DatasetInfo(BaseModel):
    """A file with records."""

    id: str
    at: str
    name: str
    format: str
    hash: str
    """The SHA-256 of the file."""
    bytes: int
    report: DatasetReport


class DatasetPage(BaseModel):
    """Some files, newest first."""

    datasets: list[DatasetInfo]
    next: str | None
    """The value for `before` to get older ones; null if there are none."""


class RowQuery(BaseModel):
    """Which rows of a file are asked for."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(max_length=200)] = ""
    """Only rows that contain this text in any column, without regard to case."""
    after: Annotated[int, Field(ge=0, le=1 << 40)] = 0
    """The number of the row after which the page begins, from `next` of the previous page."""
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class DatasetRow(BaseModel):
    """A row of a file."""

    row: int
    """Its number in the file, from 1."""
    values: dict[str, Any]
    """Its values by column; long ones end with `…`."""
    error: str | None
    """Why the row can't be read; null if it can be."""


class RowPage(BaseModel):
    """Some rows of a file, in its order."""

    rows: list[DatasetRow]
    next: int | None
    """The value for `after` to get what follows; null if nothing does."""


@resource.post(
    "/v1/datasets", scope="train", status_code=201, max_body=_LARGEST, responses=problems.documented(400, 409, 413, 415, 422),
    openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
)  # fmt: skip
async def upload_dataset(request: Request, name: Annotated[Storable, Query(max_length=120)] = "") -> DatasetInfo:
    """Store the body as a file with records: CSV, JSON Lines or Parquet, as the header Content-Type says.

    The response tells how many rows can be read, which can't and why, and for which task they seem to be made.
    """
    jobs = jobs_of(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in uploading.FORMATS:
        raise UnsupportedBody(
            f"The body has the content type '{kind[:80] or 'none'}'; expected a table. Set the header Content-Type to one of: "
            f"{', '.join(uploading.FORMATS)}."
        )
    if await asyncio.to_thread(_count, request) >= jobs.settings.uploads:
        raise Conflict(f"{jobs.settings.uploads} datasets are stored, which is the maximum. Delete some with DELETE /v1/datasets/ID.")
    path, about = await uploading.receive(request.stream(), jobs.home, uploading.FORMATS[kind], jobs.settings.upload)
    upload = await asyncio.to_thread(uploading.keep, path, about, name, customer=call_of(request).customer, ask=jobs.ask)
    await asyncio.to_thread(_add, request, upload)
    return _info(upload)


def _count(request: Request) -> int:
    with database_of(request).reading() as connection:
        return uploads.count(connection, call_of(request).customer)


def _add(request: Request, upload: uploads.Upload) -> None:
    with database_of(request).writing() as connection:
        uploads.add(connection, upload, call_of(request).key)
        note(connection, actor_of(request), "upload", f"dataset {upload.id}", {"bytes": upload.bytes, "rows": upload.report["rows"]})


@resource.get("/v1/datasets", scope="train")
def list_datasets(
    request: Request,
    before: Annotated[str | None, Query(max_length=32, pattern=r"^[0-9a-f]*$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DatasetPage:
    """List the files of the customer that owns the API key; with the permission `admin`, those of all customers."""
    with database_of(request).reading() as connection:
        found = uploads.find(connection, customer_of(request), before, limit + 1)
    return DatasetPage(datasets=[_info(one) for one in found[:limit]], next=found[limit - 1].id if len(found) > limit else None)


@resource.get("/v1/datasets/{id}", scope="train")
def describe_dataset(id: str, request: Request) -> DatasetInfo:
    """Describe a file."""
    with database_of(request).reading() as connection:
        return _info(uploads.get(connection, id, customer_of(request)))


@resource.get("/v1/datasets/{id}/rows", scope="train")
def list_rows(id: str, request: Request, query: Annotated[RowQuery, Query()]) -> RowPage:
    """List the rows of a file, also those that can't be read. Of a wide file, the first 100 columns are shown."""
    jobs = jobs_of(request)
    with database_of(request).reading() as connection:
        upload = uploads.get(connection, id, customer_of(request))
    about = {"file": str(uploads.path(jobs.home, upload)), "source": upload.report["source"], "memory": uploading.memory_for(upload.bytes)}
    if not _READING.acquire(timeout=_PATIENCE):
        raise Busy("Other requests read rows of datasets at the moment. Retry in 2 s.", 2.0)
    try:
        return RowPage(**jobs.ask({"kind": "rows", **about, **query.model_dump()}, rows.SECONDS))
    finally:
        _READING.release()


@resource.delete("/v1/datasets/{id}", scope="train", status_code=204)
def delete_dataset(id: str, request: Request) -> None:
    """Delete a file for good; datasets and models that jobs made of it stay. The audit tells it."""
    database = database_of(request)
    with database.reading() as connection:
        upload = uploads.get(connection, id, customer_of(request))
    uploads.delete_upload(database, request.app.state.service.home.folder, upload, actor_of(request))


def _info(upload: uploads.Upload) -> DatasetInfo:
    return DatasetInfo(**{name: value for name, value in asdict(upload).items() if name in DatasetInfo.model_fields})
