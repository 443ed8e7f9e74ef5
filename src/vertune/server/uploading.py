"""Receives a file with records: stores it piece by piece, and reads it once, as `vertune init` does; does not depend on HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vertune.core.errors import DataError, NotFound
from vertune.core.files import storage_errors
from vertune.core.ids import time_ordered_id
from vertune.server.body import TooLarge
from vertune.store.database import format_time
from vertune.store.uploads import FOLDER, Upload

FORMATS = {"text/csv": "csv", "application/x-ndjson": "jsonl", "application/vnd.apache.parquet": "parquet"}
"""By its media type, the source that reads a file."""
_LEAST_MEMORY, _MEMORY = 6 << 30, 30
"""Address space that reading a file may take: so many bytes, or so many times its size if that is more."""
_SECONDS = 300.0
"""How long reading a file may take."""
Ask = Callable[[dict[str, Any], float], dict[str, Any]]
"""A function that does a piece of work in a process of its own: given a request and the longest time in seconds, it returns the result."""
_MOST_GUESSED = 1000
"""Number of columns above which no task is guessed, because each takes some hundredths of a second."""
_SHOWN = 20
"""Number of unreadable rows that the report of a file names."""


async def receive(stream: AsyncIterator[bytes], home: Path, format: str, limit: int) -> tuple[Path, tuple[str, str, int]]:
    """Store a file of at most `limit` bytes below the home folder; return its path; and its id, SHA-256 and size.

    Raises TooLarge if it is larger, DataError if it is empty, and StorageError if it can't be written. Then nothing is left of it.
    """
    id = time_ordered_id()
    folder = home / FOLDER
    with storage_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, hashed, size = folder / f".{id}.{format}", hashlib.sha256(), 0
    try:
        with storage_errors(path), os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            async for chunk in stream:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"The file is too large; expected at most {limit} bytes. Divide it into several files.")
                hashed.update(chunk)
                file.write(chunk)
            if not size:
                raise DataError("The body is empty; expected a file with records. Send the file as the body of the request.")
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())  # which waits for the disk
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, (id, hashed.hexdigest(), size)


def describe(path: Path, format: str) -> dict[str, Any]:
    """Return what is in a file: its rows and columns, the rows that can't be read, and the task and fields that it seems to be made for.

    Raises DataError if no row can be read.
    """
    import polars as pl

    from vertune.core.kinds import Source
    from vertune.core.parse import build
    from vertune.steps.init import guess_frame
    from vertune.steps.init.tables import as_config

    source: Source = build(Source, {"name": format, "path": str(path)})
    source, found = source.detect()
    notes = list(found)
    frame = source.read().lazy().collect()
    bad, good = frame.filter(pl.col("__error").is_not_null()), frame.filter(pl.col("__error").is_null())
    columns = [name for name in frame.columns if not name.startswith("__")]
    if good.is_empty():
        why = str(bad["__error"][0]) if bad.height else "it has none"
        raise DataError(f"No row of the file can be read: {why}. Check how the file was written.")
    try:
        if len(columns) > _MOST_GUESSED:
            raise DataError(
                f"The file has {len(columns):,} columns; a task is guessed from at most {_MOST_GUESSED:,}. Name the fields in the config."
            )
        guess = guess_frame(good, "the file")
        guessed: dict[str, Any] | None = {"task": guess.task, "fields": guess.fields, "warnings": guess.warnings}
    except (DataError, NotFound) as error:
        guessed, notes = None, [*notes, str(error)]
    unread = [{"row": int(row["__row"]), "why": row["__error"]} for row in bad.head(_SHOWN).iter_rows(named=True)]
    return {
        "rows": good.height, "columns": columns, "unreadable": bad.height, "unreadable_rows": unread, "guess": guessed, "notes": notes,
        "source": {key: value for key, value in as_config(source).items() if key != "path"},
    }  # fmt: skip


def memory_for(size: int) -> int:
    """Return how much address space a process that reads a file of so many bytes may take."""
    return max(_LEAST_MEMORY, _MEMORY * size)


def keep(path: Path, about: tuple[str, str, int], name: str, customer: str, ask: Ask) -> Upload:
    """Describe a received file, and give it its final name; on an error, delete it. `about` are its id, hash and size.

    `ask` describes the file in a process of its own, because a small file can be made to take all memory when it is read.
    """
    id, hashed, size = about
    format = path.suffix[1:]
    try:
        report = ask({"kind": "describe", "file": str(path), "format": format, "memory": memory_for(size)}, _SECONDS)
        at = format_time(datetime.now(UTC))
        upload = Upload(id=id, at=at, customer=customer, name=name, format=format, hash=hashed, bytes=size, report=report)
        with storage_errors(path):
            path.rename(path.with_name(upload.file))
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return upload
