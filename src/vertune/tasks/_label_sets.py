"""Reads a column of label sets: lists, lists written as text, or texts in which a separator divides the labels.

Independent of texts and models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertune.core import separators
from vertune.core.columns import named
from vertune.core.errors import DataError
from vertune.tasks import _rows

if TYPE_CHECKING:
    import polars as pl

_FLAGS = frozenset({"0", "1", "0.0", "1.0", "true", "false", "True", "False"})
"""Texts of the values with which each position of a list stands for one label."""


def read(frame: pl.DataFrame, name: str, separator: str) -> pl.DataFrame:
    """Parse the column `name`, and add the columns `__labels` (lists of texts, with empty and repeated ones) and `__unread`.

    `__unread` is the reason why the labels of a row can't be read; it is null if they can. Raises DataError if the type of the column
    can't contain labels, or if its lists contain 0 and 1 instead of names.
    """
    import polars as pl

    kind = frame.schema[name]
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
    if inner.is_nested() or inner in (pl.Object, pl.Binary) or (inner is kind and kind.is_float()):
        raise DataError(
            f'The column \'{name}\' has the type {kind}, but must contain lists of labels such as ["a", "b"], or labels in one text. '
            "Choose a column of labels; for numbers, use `task: regress`."
        )
    if inner is not kind:
        item = pl.element()
        whole = item.cast(pl.Int64, strict=False).cast(pl.String) if inner.is_float() else item.cast(pl.String)
        labels = named(name).cast(pl.List(inner)).list.eval(pl.when(item.is_not_null()).then(whole))
        frame = frame.with_columns(labels.alias("__labels"), pl.lit(None, pl.String).alias("__unread"))
    else:
        cells = frame[name].cast(pl.String)
        distinct = {cell: _parse(cell, separator, name) for cell in cells.unique().drop_nulls()}
        pairs = [distinct.get(cell, (None, None)) for cell in cells]
        frame = frame.with_columns(
            pl.Series("__labels", [labels for labels, _ in pairs], pl.List(pl.String)),
            pl.Series("__unread", [reason for _, reason in pairs], pl.String),
        )
    _refuse_flags(frame["__labels"].drop_nulls(), name)
    return frame


def convert(name: str, checks: _rows.Checks) -> None:
    """Add to `checks` the conversion of the column `name` to lists of different texts; `read` must have made the columns that it uses.

    Also adds the changes that notes report: empty and repeated labels that are left out, rows without labels, and white space that is
    removed.
    """
    import polars as pl

    raw, item = pl.col("__labels"), pl.element()
    words = raw.list.eval(item.str.strip_chars())
    filled = words.list.eval(item.filter(item.is_not_null() & (item != "")))
    labels = filled.list.unique(maintain_order=True)
    checks.results.append(labels.alias(name))
    checks.changes += [
        _rows.Change("labels are empty and were left out", raw.list.len() - filled.list.len(), raw.list.len(), named(name)),
        _rows.Change(
            "labels are repeated in their row and were left out", filled.list.len() - labels.list.len(), raw.list.len(), named(name)
        ),
        _rows.Change("rows have no label and were kept", labels.list.len() == 0, pl.lit(1), named(name)),
        _rows.Change(
            "labels had white space around them, which was removed",
            raw.list.eval(item != item.str.strip_chars()).list.sum(),
            raw.list.len(),
            named(name),
        ),
    ]


def _parse(cell: str, separator: str, name: str) -> tuple[list[str] | None, str | None]:
    """Return the labels of a cell, or None and the reason why they can't be read."""
    text = cell.strip()
    if not text:
        return [], None
    listed = separators.listed(text)
    if listed is not None:
        return listed, None
    if text[0] + text[-1] in ("[]", "{}") and not (separator and separator in text and text[0] == "["):
        return None, f'{name} are neither a list such as ["a", "b"] nor labels in one text'
    # the white space beside a separator belongs to the separator; in a list, it belongs to the label
    return [part.strip() for part in separators.split(text, separator)], None


def _refuse_flags(lists: pl.Series, name: str) -> None:
    """Raise DataError if the lists contain 0 or 1 for each label, instead of the names of labels.

    Such lists have the same length, and the same value occurs several times in a list.
    """
    lengths = lists.list.len().unique()
    if len(lengths) != 1 or lengths[0] < 2 or not set(lists.explode(empty_as_null=True).unique().drop_nulls()) <= _FLAGS:
        return
    if (lists.list.n_unique() < lengths[0]).any():
        raise DataError(
            f"The column '{name}' contains lists of {lengths[0]} values 0 or 1, but the names of the labels are expected. Write the names, "
            f"or a column of 0 and 1 for each label, and list these columns: `data: {{fields: {{{name}: [COLUMN, COLUMN]}}}}`."
        )
