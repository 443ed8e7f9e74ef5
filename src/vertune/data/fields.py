"""Selects, renames and joins the columns of a data source, as the option `data.fields` of a config describes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertune.core.columns import named
from vertune.core.errors import ConfigError, DataError, UnknownName
from vertune.core.kinds import Task
from vertune.core.records import Column

if TYPE_CHECKING:
    import polars as pl

MARKS = ("__file", "__row", "__error")
"""Names of the columns that every source adds: a row's file, its number, and the error if the row can't be read."""
YES = ("1", "true", "yes", "y", "x", "是", "有", "对", "√", "✓", "✔", "☑", "●")
NO = ("0", "false", "no", "n", "否", "无", "没有", "×", "✗", "✘", "☐", "○")
"""Values, in lower case, with which a column says that its label applies, or does not apply."""
_SEPARATOR = "; "
"""Text that is put between joined columns; tokenizers keep it, unlike a line break."""

Fields = Mapping[str, str | list[str]]
"""Maps the name of a task's field to the column that it is read from, or to several columns to join."""


@dataclass(frozen=True, slots=True)
class MappedTable:
    """A table of data after its columns were renamed to the fields of a task, with the original column names."""

    frame: pl.DataFrame
    origin: dict[str, list[str]]
    """The source columns that each field was read from."""


@dataclass(frozen=True, slots=True)
class _SourceTable:
    """The column names and types of a table that was read from a data source, and the name of the source for messages."""

    schema: pl.Schema
    where: str

    @property
    def names(self) -> list[str]:
        """The names of the columns of the data, without the columns that vertune adds (`__file`, `__row`, `__error`)."""
        return [name for name in self.schema if name not in MARKS]

    def require(self, name: str) -> None:
        """Raise UnknownName if the source has no column of this name."""
        if name not in self.names:
            raise UnknownName("column", name, self.names, self.where)


def map_fields(
    frame: pl.DataFrame | pl.LazyFrame, fields: Fields, task: Task, keep: Iterable[str] = (), targets: bool = True
) -> MappedTable:
    """Select the columns that a task needs and rename each to its field; several columns of one field are joined to one text.

    `fields` maps a field to its column or columns. The columns in `keep`, and `__file`, `__row` and `__error`, are kept as well. With
    `targets=False`, the columns of expected answers may be missing. Raises UnknownName if `fields` or `keep` contains a name that does
    not exist, DataError if a column that the task needs is missing, ConfigError if columns can't be joined or kept.
    """
    import polars as pl

    source = _SourceTable(frame.lazy().collect_schema(), _name_of(frame))
    names = [column.name for column in task.columns]
    unknown = [name for name in fields if name not in names]
    if unknown:
        raise UnknownName("field", unknown[0], names, f"the task '{task.name}'")
    origin = {column.name: _columns_of(column, fields.get(column.name), task, source, targets) for column in task.columns}
    origin = {name: columns for name, columns in origin.items() if columns}
    kinds = {column.name: column for column in task.columns}
    values = {name: _value(kinds[name], columns, frame) for name, columns in origin.items()}
    for name in dict.fromkeys(keep):
        if name in origin:
            if origin[name] != [name] and name in source.names:
                raise ConfigError(
                    f"The column '{name}' can't be kept under its name, because the task's field of the same name is read from other "
                    f"columns ({', '.join(origin[name])}). Rename the column in the data."
                )
            continue
        source.require(name)
        values[name] = named(name)
    marks = [pl.col(name) for name in MARKS if name in source.schema]
    return MappedTable(frame.lazy().select(*(value.alias(name) for name, value in values.items()), *marks).collect(), origin)


def _columns_of(column: Column, chosen: str | list[str] | None, task: Task, source: _SourceTable, targets: bool) -> list[str]:
    """Return the names of the data's columns that one field of the task is read from; empty if an optional field has no column.

    `chosen` contains the columns that the config names for this field, or is None. If `targets` is false, fields with expected answers
    are optional. Raises DataError if a required field has no column, UnknownName if a chosen column does not exist.
    """
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
        f"The task '{task.name}' reads the column '{column.name}', but {source.where} has only these columns: "
        f"{', '.join(source.names) or 'none'}.{hint} Name the column to read: `fields: {{{column.name}: {near[0] if near else 'COLUMN'}}}`."
    )


def _value(field: Column, columns: Sequence[str], frame: pl.DataFrame | pl.LazyFrame) -> pl.Expr:
    """Return the Polars expression that computes a field of the task from these columns of the data.

    A single column is used unchanged, except that NaN becomes null, because both mean that a value is missing. Several columns are
    joined to one text such as `title: Card; body: It is lost`, without columns that are blank in a row; for a set of labels, they are
    columns of 0 and 1, one for each label. Raises ConfigError if the columns can't be joined.
    """
    import polars as pl

    schema = frame.lazy().collect_schema()
    if len(columns) == 1:
        value = named(columns[0])
        return value.fill_nan(None) if schema[columns[0]].is_float() else value
    if field.type == "labels":
        return _flagged(field.name, columns, frame)
    if field.role == "target":
        raise ConfigError(
            f"The field '{field.name}' is read from {len(columns)} columns ({', '.join(columns)}), but an expected answer can't be joined "
            "from several columns. Name one column; for a column of 0 and 1 per label, use `task: multilabel`."
        )
    nested = [column for column in columns if schema[column].is_nested()]
    if nested:
        raise ConfigError(
            f"The field '{field.name}' joins several columns, but the column '{nested[0]}' has the type {schema[nested[0]]}. "
            "Join only texts and numbers."
        )
    texts = [named(column).cast(pl.String).str.strip_chars() for column in columns]
    parts = [pl.when(text != "").then(pl.lit(f"{column}: ") + text) for column, text in zip(columns, texts, strict=True)]
    return pl.concat_str(parts, separator=_SEPARATOR, ignore_nulls=True)


def _flagged(field: str, columns: Sequence[str], frame: pl.DataFrame | pl.LazyFrame) -> pl.Expr:
    """Return the Polars expression for lists of labels: the names of those columns that contain 1 (or true, yes, x, √, 是) in a row.

    A blank value means 0 in a column that contains no 0; elsewhere it is a missing value, and the labels of its row are null. Raises
    ConfigError if a column contains any other value.
    """
    import polars as pl

    flags: dict[str, pl.Expr] = {}
    for column in columns:
        words = named(column).cast(pl.String).str.strip_chars().str.to_lowercase().str.replace(r"\.0$", "")
        found = set(frame.lazy().select(words.unique()).collect().to_series())
        other = sorted(found - {*YES, *NO, "", None}, key=str)
        if other:
            raise ConfigError(
                f"The field '{field}' is read from several columns, so each must contain 0 or 1 for one label, but the column '{column}' "
                f"contains '{other[0]}'. Name only columns of 0 and 1, or one column with all labels."
            )
        blank = words.is_null() | (words == "")
        flag = pl.when(blank).then(None if found & {*NO} else False).otherwise(words.is_in(list(YES)))
        flags[column] = flag
    names = [pl.when(flag).then(pl.lit(column)) for column, flag in flags.items()]
    labels = pl.concat_list(names).list.drop_nulls()
    return pl.when(pl.any_horizontal(flag.is_null() for flag in flags.values())).then(None).otherwise(labels)


def _name_of(frame: pl.DataFrame | pl.LazyFrame) -> str:
    """Return the name of the file that the first row was read from, for messages; `the data` if it is unknown."""
    if "__file" not in frame.lazy().collect_schema():
        return "the data"
    first = frame.lazy().select("__file").head(1).collect()
    return str(first.item()) if first.height else "the data"
