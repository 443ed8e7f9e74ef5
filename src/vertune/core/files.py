"""Files that are written beside their place and renamed into it, and what is read of them; knows nothing of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vertune.core.errors import Conflict, StorageError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a full or unwritable disk into a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Can't write {path}: {error.strerror or error}. Free space there, or name another place (artifacts: VERTUNE_HOME)."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and rename it in, so that a reader sees the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically; NaN is refused because JSON has none."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False, default=json_value) + "\n")


def json_value(value: Any) -> Any:
    """NumPy scalars and arrays, paths and pydantic models as plain JSON values."""
    for convert in ("model_dump", "tolist", "as_posix"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def read_json(path: Path) -> Any:
    """A JSON file; StorageError when it is not one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"Expected JSON in {path}, but it can't be read: {error}.") from error


def file_hash(path: Path) -> str:
    """sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def folder_size(folder: Path) -> int:
    """Bytes of all files under a folder; one that goes meanwhile weighs nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            found = path.lstat()
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` when the block ends well, and is deleted when it does not.

    Raises Conflict where `folder` holds anything already.
    """
    target = folder.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{folder} is not empty. Name a new folder, so that nothing of yours is written over.")
    outer = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    place = outer / target.name  # of the same name, because pages that are written inside mention it
    with storage_errors(target):
        place.mkdir(parents=True)
    try:
        yield place
        with storage_errors(target):
            if target.exists():
                target.rmdir()
            place.rename(target)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def check_writable(file: Path) -> None:
    """StorageError before long work where its file could not be written after it."""
    place = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with storage_errors(file):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        place.unlink()


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `file` when the block ends well, and is deleted when it does not."""
    place = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield place
        place.replace(file)
    finally:
        place.unlink(missing_ok=True)
