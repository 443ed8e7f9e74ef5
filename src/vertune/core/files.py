"""Reads files and writes them atomically: a new file gets a temporary name first and is then renamed; independent of the content."""

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

from vertune.core.documents import parse_json
from vertune.core.errors import Conflict, StorageError, first_line, is_disk_error


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Run the `with` block while no other process or thread is in such a block for the same lock file.

    The file is created if it is missing. On a system or a disk without file locks, the block runs without a lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = file.open("a")
    with opened:
        with suppress(OSError):  # some network disks have no locks
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield  # closing the file releases the lock


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Run the `with` block; if it can't write, for example because the disk is full, raise a StorageError that names the path.

    Errors of other libraries than OSError, such as ComputeError of polars, are recognised by their message.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not is_disk_error(error):
            raise
        raise StorageError(
            f"Can't write {path}: {getattr(error, 'strerror', None) or first_line(error)}. Free some space on this disk, or choose another "
            "folder; the environment variable VERTUNE_HOME sets the folder of datasets, models and reports."
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a text file atomically, which only its owner can read."""
    write_text(path, text, mode=0o600)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a text file atomically, so that a reader sees the old or the new content and never a mixture.

    `mode` are the permissions of the file, less those that the process's umask takes away.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value into a JSON file, atomically; raise ValueError if it contains NaN or infinity, which JSON can't express."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False, default=json_value) + "\n")


def json_value(value: Any) -> Any:
    """Convert a NumPy scalar or array, a path or a pydantic model to a JSON value; raise TypeError for any other type."""
    for convert in ("model_dump", "tolist", "as_posix"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    raise TypeError(f"A value of type {type(value).__name__} can't be written as JSON. Convert it to a JSON value first.")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; raise StorageError if it can't be read or is not JSON."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"Can't read {path} as JSON: {error}. Check that the file exists and is complete.") from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_size(folder: Path) -> int:
    """Return the total size, in bytes, of all files in a folder and its subfolders; files that disappear meanwhile are skipped."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


_OF_VOLUMES = "lost+found"
"""A folder that file systems have in the root of an empty volume."""


def free_space(folder: Path) -> float:
    """Return the free bytes on the disk of a folder; NaN if it can't be read."""
    try:
        return float(shutil.disk_usage(folder).free)
    except OSError:
        return float("nan")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to write into; it is renamed to `folder` after the `with` block, or deleted if the block raises.

    Where `folder` is the root of a mounted volume, which can't be replaced, its content is renamed instead, entry by entry. Raises Conflict
    if `folder` exists and is not an empty folder.
    """
    target = folder.expanduser().absolute()
    mounted = target.is_mount()
    if target.exists() and (not target.is_dir() or any(not (mounted and entry.name == _OF_VOLUMES) for entry in target.iterdir())):
        raise Conflict(f"{folder} exists and is not empty. Name a new or empty folder, so that no file is overwritten.")
    outer = (target if mounted else target.parent) / f".{target.name}.{secrets.token_hex(4)}"
    temporary = outer / target.name  # the final name, because files written inside mention it
    with storage_errors(target):
        temporary.mkdir(parents=True)
    try:
        yield temporary
        with storage_errors(target):
            if mounted:
                for entry in sorted(temporary.iterdir()):
                    entry.rename(target / entry.name)
            else:
                if target.exists():
                    target.rmdir()
                temporary.rename(target)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def check_writable(file: Path) -> None:
    """Raise StorageError if the file can't be written; call this before long work whose result is written to the file."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with storage_errors(file):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a path for a temporary file, which is renamed to `file` after the `with` block, or deleted if the block raises."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
