"""Parquet files; columns keep their types."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import polars as pl

from vertune.core.errors import DataError, first_line
from vertune.core.kinds import Source
from vertune.sources import _files, _table


class Parquet(Source):
    """Source that reads Parquet files; the fields below are its options."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")
    binary: ClassVar[bool] = True
    path: str
    """The file, or a pattern such as `data/*.parquet`."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether the file begins with the mark of Parquet files."""
        return _files.head(path).startswith(b"PAR1")

    def read(self) -> pl.LazyFrame:
        """Return a lazy frame of all rows; raise DataError for a file that is not Parquet."""
        frames = [_scan(path) for path in _files.find(self.path)]
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(_files.find(self.path))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a Parquet file with three labelled texts and return the source that reads it."""
        path = folder / "rows.parquet"
        pl.DataFrame(_table.SAMPLE, schema=["text", "label"], orient="row").write_parquet(path)
        return cls(path=str(path))


def _scan(path: Path) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(path, glob=False)
        schema = frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is not a Parquet file that can be read ({first_line(error)}). Check how it was written.") from error
    categories = [name for name, kind in schema.items() if isinstance(kind, pl.Categorical | pl.Enum)]
    return (
        frame.drop(_table.FILE, _table.ROW, _table.ERROR, strict=False)
        .with_columns(pl.col(categories).cast(pl.String))
        .with_row_index(_table.ROW, offset=1)
        .with_columns(
            pl.col(_table.ROW).cast(pl.Int64),
            pl.lit(str(path), dtype=pl.String).alias(_table.FILE),
            pl.lit(None, dtype=pl.String).alias(_table.ERROR),
        )
    )
