"""Result files with an entry for each row of accuracy.yaml, stored as soon as it is measured; measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from processor import measured_here

from vertune.core.files import read_json, write_json

Rows = dict[str, dict[str, Any]]


def read(out: Path) -> Rows:
    """The rows of a result file, by their names; none before the first one."""
    rows: Rows = read_json(out)["rows"] if out.exists() else {}
    return rows


def add(out: Path, name: str, row: Mapping[str, Any], judged: Callable[[Rows], Mapping[str, Any]] = lambda rows: {}) -> None:
    """Store a row beside those that the file has now, because others may be measured meanwhile; `judged` makes further entries of all."""
    rows = read(out) | {name: dict(row)}
    write_json(out, {"rows": rows, **judged(rows)} | measured_here())
