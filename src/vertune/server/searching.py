"""Searches files with records for those of a person, in a process of its own, because files can be made to exhaust memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.errors import DataError, NotFound, StorageError
from vertune.server.jobs import Jobs
from vertune.server.settings import JobSettings
from vertune.server.uploading import memory_for
from vertune.steps.forget import Search, Searched
from vertune.store.database import Database

if TYPE_CHECKING:
    import polars as pl

_SECONDS_PER_FILE = 60.0
"""How long the search of one file may take."""


def searcher(database: Database, home: Path) -> Search:
    """Return what searches files in child processes."""
    owner = Jobs(database, home, JobSettings(cores=1))

    def ask(files: Sequence[Path], records: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
        request = {"kind": "search", "files": [str(file) for file in files], "records": list(records)}
        size = max(file.stat().st_size if file.exists() else 0 for file in files)
        return owner.ask({**request, "memory": memory_for(size)}, _SECONDS_PER_FILE * len(files))

    def search(files: Sequence[Path], records: Sequence[Mapping[str, Any]]) -> Searched:
        if not files:
            return Searched([])
        try:
            answer = ask(files, records)
        except DataError:  # one of the files ended the process
            answer = {"found": [], "unread": []}
            for place, file in enumerate(files):
                try:
                    one = ask([file], records)
                except DataError:
                    one = {"found": [], "unread": [0]}
                answer = {name: [*places, *([place] if one[name] else [])] for name, places in answer.items()}
        return Searched(answer["found"], answer["unread"])

    return search


def search_files(files: Sequence[str], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the places of the files that contain a record, and of those that can't be read; called in the child process."""
    plain = [[_plain(value) for value in record.values() if value is not None and _plain(value)] for record in records]
    wanted = [values for values in plain if values]
    found, unread = [], []
    for place, file in enumerate(files):
        try:
            if wanted and _contains(Path(file), wanted):
                found.append(place)
        except (DataError, NotFound, StorageError):
            unread.append(place)
    return {"found": found, "unread": unread}


def _contains(file: Path, wanted: Sequence[Sequence[str]]) -> bool:
    """Return whether a row of a file has all values of one of the lists in its cells, apart from white space.

    Of a file with rows that can't be read, its bytes are searched too.
    """
    import polars as pl

    from vertune.core.kinds import Source
    from vertune.core.parse import build

    source: Source = build(Source, {"name": file.suffix[1:], "path": str(file)})
    source, _ = source.detect()
    frame = source.read().lazy().collect()
    columns = [name for name in frame.columns if not name.startswith("__")]
    if not columns:
        return False
    content = file.read_bytes() if frame["__error"].is_not_null().any() else b""
    cells = [_cells(frame[name]) for name in columns]
    nested = [frame[name].to_list() for name in columns if frame.schema[name].is_nested()]

    def has(values: Sequence[str]) -> bool:
        if all(value.encode() in content for value in values):
            return True
        matches = [pl.DataFrame({str(place): column == value for place, column in enumerate(cells)}) for value in values]
        rows = pl.DataFrame({str(place): match.select(pl.any_horizontal(pl.all())).to_series() for place, match in enumerate(matches)})
        if rows.select(pl.all_horizontal(pl.all()).any()).item():
            return True
        return bool(nested) and any(set(values) <= set(_texts(row)) for row in zip(*nested, strict=True))

    return any(map(has, wanted))


def _cells(column: pl.Series) -> pl.Series:
    """Return the cells of a column as texts of one line; null where they are lists or objects."""
    import polars as pl

    if column.dtype.is_nested() or column.dtype == pl.Binary:
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    return column.cast(pl.String, strict=False).str.replace_all(r"\s+", " ").str.strip_chars()


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in lists and objects."""
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif value is not None:
        yield _plain(value)


def _plain(value: Any) -> str:
    return " ".join(str(value).split())
