"""New databases in a moment: copies of one with all tables and no rows, because making the tables takes longer than most tests."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from vertune.store.database import FILE, Database


def new(file: Path) -> Path:
    """Have a database without rows in a SQLite file, if there is no file yet, and return its path."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_bytes(_without_rows())
    return file


@functools.cache
def _without_rows() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        Database(file).close()
        return file.read_bytes()
