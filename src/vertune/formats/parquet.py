"""Parquet: one row for each label, in columns with types, which pandas, Polars, Spark and the Hugging Face hub read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.task import Task
from vertune.formats import _rows

if TYPE_CHECKING:
    import polars as pl

_PIECE = 1 << 20
"""Number of bytes of a piece of the file."""


class Parquet(Format):
    """Format of Parquet files; it has no options."""

    media_type: ClassVar[str] = "application/vnd.apache.parquet"
    suffix: ClassVar[str] = ".parquet"

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield a file with one row for each label."""
        import polars as pl

        self.check(task)
        table = [_rows.flat(task, row) for row in rows]
        kinds = {**{column.name: _type(column.type) for column in task.columns}, **_about()}
        names = [name for name in kinds if any(name in row for row in table) or not table]
        frame = pl.DataFrame([pl.Series(name, [_value(row.get(name), kinds[name]) for row in table], kinds[name]) for name in names])
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        content = buffer.getvalue()
        return (content[start : start + _PIECE] for start in range(0, len(content), _PIECE))


def _type(kind: str) -> pl.DataType:
    """Return the Polars type of a field of this type of the task."""
    import polars as pl

    span = {"start": pl.Int64(), "end": pl.Int64(), "label": pl.String()}
    kinds: dict[str, pl.DataType] = {
        "number": pl.Float64(), "labels": pl.List(pl.String()), "spans": pl.List(pl.Struct(span)),
        "answers": pl.List(pl.Struct({"start": pl.Int64(), "text": pl.String()})),
    }  # fmt: skip
    return kinds.get(kind, pl.String())


def _about() -> dict[str, pl.DataType]:
    """Return the Polars types of what is known about a label besides its value."""
    import polars as pl

    return {
        "labelled_record": pl.Int64(), "labelled_by": pl.String(), "labelled_at": pl.String(), "labelled_seconds": pl.Float64(),
        "labelled_decision": pl.Boolean(),
    }  # fmt: skip


def _value(value: Any, kind: pl.DataType) -> Any:
    """Return a value as a column of this type stores it."""
    import polars as pl

    if isinstance(kind, pl.List) and isinstance(kind.inner, pl.Struct) and value is not None:
        names = [field.name for field in kind.inner.fields]
        return [{name: item[name] for name in names} for item in value]
    return value if value is None or kind != pl.String else str(value)
