"""Selects and renames the columns of a source as `data.fields` says; knows nothing of any task."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertune.core.errors import ConfigError, DataError, UnknownName
from vertune.core.kinds import Task
from vertune.core.records import Column

if TYPE_CHECKING:
    import polars as pl

MARKS = ("__file", "__row", "__error")
"""Columns that every source adds to its own."""
_SEPARATOR = "; "
"""What is put between joined columns: a character that tokenizers keep, unlike a line end."""

Fields = Mapping[str, str | list[str]]
"""Field of the task to column of the source, or to several columns that are joined."""


@dataclass(frozen=True, slots=True)
class MappedTable:
    """Rows with the task's fields as columns, and the source columns of each field."""

    frame: pl.DataFrame
    origin: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class _SourceTable:
    """The columns that a source has, and its name in messages."""

    schema: pl.Schema
    where: str

    @property
    def names(self) -> list[str]:
        """The source's own columns."""
        return [name for name in self.schema if name not in MARKS]

    def require(self, name: str) -> None:
        """Raise UnknownName if there is no such column."""
        if name not in self.names:
            raise UnknownName("column", name, self.names, self.where)


def map_fields(
    frame: pl.DataFrame | pl.LazyFrame, fields: Fields, task: Task, keep: Iterable[str] = (), targets: bool = True
) -> MappedTable:
    """The task's fields, the columns to `keep`, and the marks of a source; without `targets`, rows need no expected answer.

    Raises UnknownName for a column that does not exist, DataError if the data lacks a column that the task needs.
    """
    import polars as pl

    source = _SourceTable(frame.lazy().collect_schema(), _name_of(frame))
    names = [column.name for column in task.columns]
    unknown = [name for name in fields if name not in names]
    if unknown:
        raise UnknownName("field", unknown[0], names, f"the task '{task.name}'")
    origin = {column.name: _columns_of(column, fields.get(column.name), task, source, targets) for column in task.columns}
    origin = {name: columns for name, columns in origin.items() if columns}
    values = {name: _value(name, columns, source.schema) for name, columns in origin.items()}
    for name in dict.fromkeys(keep):
        if name in origin:
            if origin[name] != [name] and name in source.names:
                raise ConfigError(
                    f"The column '{name}' can't be kept under its name, because the field '{name}' is read from {origin[name]}. "
                    "Rename the column."
                )
            continue
        source.require(name)
        values[name] = pl.col(name)
    marks = [pl.col(name) for name in MARKS if name in source.schema]
    return MappedTable(frame.lazy().select(*(value.alias(name) for name, value in values.items()), *marks).collect(), origin)


def _columns_of(column: Column, chosen: str | list[str] | None, task: Task, source: _SourceTable, targets: bool) -> list[str]:
    """The source columns of one field; empty for a field that may be missing and is."""
    if chosen is not None:
        columns = [chosen] if isinstance(chosen, str) else list(chosen)
        if column.role == "target" and not targets and not set(columns) <= set(source.names):
            return []
        for name in columns:
            source.require(name)
        return columns
    if column.name in source.names:
        return [column.name]
    if not column.required or column.role == "extra" or (column.role == "target" and not targets):
        return []
    near = difflib.get_close_matches(column.name, source.names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise DataError(
        f"The task '{task.name}' reads the column '{column.name}', but {source.where} has: {', '.join(source.names) or 'none'}.{hint} "
        f"Name the column to read: `fields: {{{column.name}: {near[0] if near else 'COLUMN'}}}`."
    )


def _value(name: str, columns: Sequence[str], schema: pl.Schema) -> pl.Expr:
    """The value of a field: one column as it is, or several joined as `name: value`, without those that are blank."""
    import polars as pl

    if len(columns) == 1:
        return pl.col(columns[0])
    nested = [column for column in columns if schema[column].is_nested()]
    if nested:
        raise ConfigError(
            f"The field '{name}' joins the column '{nested[0]}', which holds {schema[nested[0]]}. Join only texts and numbers."
        )
    texts = [pl.col(column).cast(pl.String).str.strip_chars() for column in columns]
    parts = [pl.when(text != "").then(pl.lit(f"{column}: ") + text) for column, text in zip(columns, texts, strict=True)]
    return pl.concat_str(parts, separator=_SEPARATOR, ignore_nulls=True)


def _name_of(frame: pl.DataFrame | pl.LazyFrame) -> str:
    """The file of the first row, for messages."""
    if "__file" not in frame.lazy().collect_schema():
        return "the data"
    first = frame.lazy().select("__file").head(1).collect()
    return str(first.item()) if first.height else "the data"
