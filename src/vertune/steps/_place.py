"""Folders that a user names: filled beside their place and renamed in when they are whole; knows nothing of what is in them."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vertune.core.artifact import storage
from vertune.core.errors import Conflict


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` when the block ends well, and is deleted when it does not.

    Raises Conflict where `folder` holds anything already.
    """
    target = folder.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{folder} is not empty. Name a new folder, so that nothing of yours is written over.")
    outer = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    place = outer / target.name  # of the same name, because pages that are written inside mention it
    with storage(target):
        place.mkdir(parents=True)
    try:
        yield place
        with storage(target):
            if target.exists():
                target.rmdir()
            place.rename(target)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def check_writable(file: Path) -> None:
    """StorageError before long work where its file could not be written after it."""
    place = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with storage(file):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        place.unlink()


@contextmanager
def replaced(file: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `file` when the block ends well, and is deleted when it does not."""
    place = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield place
        place.replace(file)
    finally:
        place.unlink(missing_ok=True)
