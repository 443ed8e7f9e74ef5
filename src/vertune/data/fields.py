"""Gives a source's columns the names that a task reads, as `fields:` says; knows nothing of any task."""

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
_BETWEEN = "; "
"""What stands between joined columns: a mark that tokenizers keep, unlike a line end."""

Fields = Mapping[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class MappedTable:
    """Rows in the task's names, and which source columns each field was read from."""

    frame: pl.DataFrame
    origin: dict[str, list[str]]


def map_fields(
    frame: pl.DataFrame | pl.LazyFrame, fields: Fields, task: Task, keep: Iterable[str] = (), targets: bool = True
) -> MappedTable:
    """The task's columns, `keep` and the marks of a source; `targets=False` is for rows to be answered, which have none.

    Raises UnknownName for a column that is not there, DataError where the data lacks one that the task reads.
    """
    import polars as pl

    schema = frame.lazy().collect_schema()
    known = [name for name in schema if name not in MARKS]
    where = _where(frame)
    strangers = [name for name in fields if name not in {column.name for column in task.columns}]
    if strangers:
        raise UnknownName("field", strangers[0], [column.name for column in task.columns], f"the task '{task.name}'")
    origin = {column.name: _origin(column, fields, known, task, where, targets) for column in task.columns}
    origin = {name: columns for name, columns in origin.items() if columns}
    chosen = {name: _joined(name, columns, schema, name in fields) for name, columns in origin.items()}
    for name in dict.fromkeys(keep):
        if name in origin:
            if origin[name] != [name] and name in known:
                raise ConfigError(
                    f"The column '{name}' can't be kept under its name, because the field '{name}' is read from {origin[name]}."
                )
            continue
        _there(name, known, where)
        chosen[name] = pl.col(name)
    marks = [pl.col(name) for name in MARKS if name in schema]
    return MappedTable(frame.lazy().select(*(value.alias(name) for name, value in chosen.items()), *marks).collect(), origin)


def _origin(column: Column, fields: Fields, known: Sequence[str], task: Task, where: str, targets: bool) -> list[str]:
    """The source columns of one field; none where it is absent and need not be there."""
    asked = fields.get(column.name)
    optional = not column.required or (column.role == "target" and not targets) or column.role == "extra"
    if asked is not None:
        columns = [asked] if isinstance(asked, str) else asked
        if column.role == "target" and not targets and not set(columns) <= set(known):
            return []
        for name in columns:
            _there(name, known, where)
        return list(columns)
    if column.name in known:
        return [column.name]
    if optional:
        return []
    near = difflib.get_close_matches(column.name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise DataError(
        f"The task '{task.name}' reads the column '{column.name}', and {where} has: {', '.join(known) or 'none'}.{hint} "
        f"Say which one it is with `fields: {{{column.name}: {near[0] if near else 'COLUMN'}}}`."
    )


def _joined(name: str, columns: Sequence[str], schema: pl.Schema, asked: bool) -> pl.Expr:
    """One column as it is, or several as `name: value`, those without a value left out."""
    import polars as pl

    if len(columns) == 1:
        return pl.col(columns[0])
    nested = [column for column in columns if schema[column].is_nested()]
    if nested:
        raise ConfigError(
            f"The field '{name}' joins the column '{nested[0]}', which holds {schema[nested[0]]}. Join only texts and numbers."
        )
    texts = [pl.col(column).cast(pl.String).str.strip_chars() for column in columns]
    map_fields = [pl.when(text != "").then(pl.lit(f"{column}: ") + text) for column, text in zip(columns, texts, strict=True)]
    return pl.concat_str(map_fields, separator=_BETWEEN, ignore_nulls=True)


def _there(name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        raise UnknownName("column", name, known, where)


def _where(frame: pl.DataFrame | pl.LazyFrame) -> str:
    """The file that the first row came from, for messages."""
    if "__file" not in frame.lazy().collect_schema():
        return "the data"
    first = frame.lazy().select("__file").head(1).collect()
    return str(first.item()) if first.height else "the data"
