"""Reads one page of the rows of an uploaded file, in a process of its own; does not depend on HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

LONGEST = 2000
"""Number of characters after which a value is cut."""
MOST_COLUMNS = 100
"""Number of columns of which values are shown."""
SECONDS = 60.0
"""How long reading a page may take."""


def read_rows(path: Path, source: dict[str, Any], text: str, after: int, limit: int) -> dict[str, Any]:
    """Return at most `limit` rows whose number is greater than `after` and that contain a text in any column, without regard to case.

    Each row has its number, its values by column, and the error if it can't be read. `source` says how the file is read; its report
    has it. With `next` is the number to continue after, or None at the end.
    """
    import polars as pl

    from vertune.core.kinds import Source
    from vertune.core.parse import build

    reader: Source = build(Source, {**source, "path": str(path)})
    frame = reader.read().lazy().filter(pl.col("__row") > after)
    found = _containing(frame.collect(), text).head(limit + 1) if text else frame.head(limit + 1).collect()
    columns = [name for name in found.columns if not name.startswith("__")][:MOST_COLUMNS]
    rows = [
        {"row": int(row["__row"]), "values": {name: _short(row[name]) for name in columns}, "error": row["__error"]}
        for row in found.head(limit).iter_rows(named=True)
    ]
    return {"rows": rows, "next": rows[-1]["row"] if found.height > limit else None}


def _containing(frame: pl.DataFrame, text: str) -> pl.DataFrame:
    import polars as pl

    wanted = text.lower()
    columns = [name for name in frame.columns if not name.startswith("__")]
    matches = pl.DataFrame([_words(frame[name]).str.to_lowercase().str.contains(wanted, literal=True).fill_null(False) for name in columns])
    return frame.filter(matches.select(pl.any_horizontal(pl.all())).to_series()) if columns else frame.clear()


def _words(column: pl.Series) -> pl.Series:
    """Return the values of a column as texts; lists and objects as JSON."""
    import polars as pl

    if column.dtype.is_nested() or column.dtype == pl.Binary:
        return pl.Series(column.name, [None if value is None else _json(value) for value in column.to_list()], dtype=pl.String)
    return column.cast(pl.String, strict=False)


def _short(value: Any) -> Any:
    """Return a value as JSON has it, with its end cut if it is long."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if not isinstance(value, str) and len(_json(value)) <= LONGEST:
        return json.loads(_json(value))
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
