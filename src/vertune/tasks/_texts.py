"""What tasks on one text, or on two, share: columns, views, checks; knows nothing of what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vertune.core.records import Column, Record, View
from vertune.tasks import _rows

if TYPE_CHECKING:
    import polars as pl

TEXT = Column("text", "The text.")
PAIR = Column("text_pair", "A second text that belongs to the first.", required=False)
_SINGLE = (View("text", ("text",), windows=True),)
_PAIRED = (View("text", ("text", "text_pair"), windows=True),)
_SHOWN = 300


def views(columns: Sequence[str]) -> tuple[View, ...]:
    """One sequence of the text, or of both texts together; a long one may be cut into windows."""
    return _PAIRED if "text_pair" in columns else _SINGLE


def checked(frame: pl.DataFrame, columns: Sequence[Column]) -> tuple[list[_rows.Problem], list[pl.Expr]]:
    """When the input of a row is bad, and the conversions of a good one: texts, an absent optional one as the empty text."""
    inputs = [column for column in columns if column.role == "input" and column.name in frame.columns]
    problems: list[_rows.Problem] = [(_rows.blank(column.name), f"{column.name} is empty") for column in inputs if column.required]
    return problems, [_rows.string(column.name).fill_null("").alias(column.name) for column in inputs]


def shown(record: Record) -> dict[str, Any]:
    """The texts of a record as a report shows them, cut where they are long."""
    return {name: _cut(str(record[name])) for name in ("text", "text_pair") if record.get(name)}


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
