"""Parses the expected answers of question answering, finds them in their context, and marks the tokens where they start and end.

Independent of models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.records import Feature
from vertune.decoders.extract import nowhere

if TYPE_CHECKING:
    import polars as pl


@cache
def entry() -> dict[str, pl.DataType]:
    """Return the fields of one expected answer with their Polars types."""
    import polars as pl

    return {"start": pl.Int64(), "text": pl.String()}


@cache
def as_column() -> pl.DataType:
    """Return the Polars type of a column of expected answers: a list of {start, text} per row."""
    import polars as pl

    return pl.List(pl.Struct(entry()))


START, END = 1, 2
"""Bits of a token's training target: START if an answer starts there, END if one ends there; -100 if neither is possible."""


def read(frame: pl.DataFrame, context: str, name: str) -> pl.DataFrame:
    """Return the frame with the column `name` parsed to lists of {start, text}, and two new columns, `__problem` and `__moved`.

    A cell may contain a list of {start, text}, a mapping {text: […], answer_start: […]} as in SQuAD, one answer as text, or one of
    these as JSON. `context` is the name of the context column. `__problem` is the reason why the answers of a row are invalid, else
    null; no error is raised. If the context does not contain an answer at its `start`, but contains it exactly once elsewhere,
    `start` is corrected; `__moved` lists these answers with their old and new start.
    """
    import polars as pl

    typed = _is_typed(frame.schema[name])
    numbered = frame.with_row_index("__number")
    if typed:
        fields = pl.struct(pl.element().struct.field(field).cast(kind) for field, kind in entry().items())
        numbered = numbered.with_columns(pl.col(name).list.eval(fields).cast(as_column()))
    unchecked = numbered.filter(~_in_place(numbered, context, name)) if typed else numbered
    cells = [
        _Cell.of(cell, text or "")
        for cell, text in zip(unchecked[name].to_list(), unchecked[context].cast(pl.String).to_list(), strict=True)
    ]
    moved = pl.List(pl.Struct({"start": pl.Int64(), "moved_to": pl.Int64(), "text": pl.String()}))
    checked = unchecked.select("__number").with_columns(
        pl.Series("__placed", [cell.answers for cell in cells], as_column()),
        pl.Series("__problem", [cell.problem for cell in cells], pl.String),
        pl.Series("__moved", [cell.moved for cell in cells], moved),
    )
    joined = numbered.join(checked, on="__number", how="left", maintain_order="left")
    column = pl.coalesce("__placed", name) if typed else pl.col("__placed")
    return joined.with_columns(column.alias(name)).drop("__number", "__placed")


@dataclass(frozen=True, slots=True)
class _Cell:
    """The expected answers of one row, parsed and found in the context."""

    answers: list[dict[str, Any]] | None
    """A {start, text} per answer; None if the cell is empty or invalid."""
    problem: str | None = None
    """The reason why the cell is invalid; None if it is valid."""
    moved: list[dict[str, Any]] | None = None
    """A {start, moved_to, text} per answer that the context contains at another position than its given start."""

    @classmethod
    def of(cls, value: Any, context: str) -> _Cell:
        """Parse the value of one cell and find its answers in the context of the row; if this fails, set `problem` and raise no error."""
        try:
            parsed = _parse(value)
            placed = None if parsed is None else [_placed(start, text, context) for start, text in parsed]
        except _Misplaced as error:
            return cls(None, str(error))
        except (ValueError, TypeError, KeyError):
            return cls(None, "the answers are not a list of {start, text}")
        moved = [
            {"start": start, "moved_to": item["start"], "text": item["text"]}
            for (start, _), item in zip(parsed or (), placed or (), strict=True)
            if start is not None and start != item["start"]
        ]
        return cls(placed, moved=moved)


def _is_typed(kind: pl.DataType) -> bool:
    """Return whether a column type is a list of structs with an integer `start` and a string `text`."""
    import polars as pl

    inner = kind.inner if isinstance(kind, pl.List) else None
    fields = {field.name: field.dtype for field in inner.fields} if isinstance(inner, pl.Struct) else {}
    return "start" in fields and fields["start"].is_integer() and fields.get("text") == pl.String


def _in_place(numbered: pl.DataFrame, context: str, name: str) -> pl.Expr:
    """Return an expression that is true for a row if its context contains each answer at the answer's `start`, or if it has no answers."""
    import polars as pl

    long = (
        numbered.filter(pl.col(name).list.len() > 0)
        .select("__number", pl.col(context).cast(pl.String).alias("context"), pl.col(name).alias("answer"))
        .explode("answer")
        .with_columns(pl.col("answer").struct.field("start"), pl.col("answer").struct.field("text"))
    )
    there = pl.col("context").str.slice(pl.col("start"), pl.col("text").str.len_chars()) == pl.col("text")
    visible = pl.col("text").str.strip_chars() != ""
    wrong = long.filter(~(there & visible & (pl.col("start") >= 0)).fill_null(False))["__number"].unique()
    return ~pl.col("__number").is_in(wrong.implode())


class _Misplaced(ValueError):
    """Raised if an answer is empty, or if its position in the context can't be found; its message is the reason why the row is rejected."""


def _parse(cell: Any) -> list[tuple[int | None, str]] | None:
    """Return (start, text) for each answer of one cell, or None if the cell is null.

    The start of an answer is None if the cell gives only its text.
    """
    if isinstance(cell, str):
        if cell.lstrip()[:1] not in ("[", "{"):
            return [(None, cell)] if cell.strip() else []
        cell = json.loads(cell)
    if cell is None:
        return None
    if isinstance(cell, Mapping):
        starts = cell.get("answer_start") or [None] * len(cell["text"])
        return [(start, text) for start, text in zip(starts, cell["text"], strict=True)]
    return [(item.get("start", item.get("answer_start")), item["text"]) if isinstance(item, Mapping) else (None, item) for item in cell]


def _placed(start: int | None, text: str, context: str) -> dict[str, Any]:
    """Return an answer as {start, text}, with a corrected `start` if needed.

    If the context does not contain the text at `start`, but contains it exactly once elsewhere, that is its start. Raises
    _Misplaced if the text is empty, if the context does not contain it, or if the context contains it several times, but not at
    `start`.
    """
    if not isinstance(text, str):
        raise TypeError("the text of an answer must be a string")
    if not text.strip():
        raise _Misplaced("an answer is empty; write [] if the context does not contain an answer")
    if start is not None and start >= 0 and context[start : start + len(text)] == text:
        return {"start": int(start), "text": text}
    position = context.find(text)
    if position < 0:
        raise _Misplaced("an answer is not in the context")
    if context.find(text, position + 1) >= 0:
        raise _Misplaced(f"an answer is not at its start ({start}), and the context contains it more than once")
    return {"start": position, "text": text}


def mark(feature: Feature, answers: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.int64], bool]:
    """Return the training target of each token of a model input, shape (tokens,), and whether the input contains a whole answer.

    A target combines the bits START and END. If the input contains no whole answer, the special token that stands for "no answer"
    (see `decoders.extract.nowhere`) is marked as start and end.
    """
    assert feature.places is not None
    offsets = feature.places.offsets
    bits = np.full(feature.positions, -100, np.int64)
    context = np.flatnonzero(feature.places.segments == 1)
    none = nowhere(feature)
    bits[context] = bits[none] = 0
    starts, ends = offsets[context].T
    contains_answer = False
    for answer in answers:
        start, end = int(answer["start"]), int(answer["start"]) + len(answer["text"])
        touched = context[(ends > start) & (starts < end)]
        if len(touched) and offsets[touched[0], 0] <= start and offsets[touched[-1], 1] >= end:
            bits[touched[0]] |= START
            bits[touched[-1]] |= END
            contains_answer = True
    if not contains_answer:
        bits[none] = START | END
    return bits, contains_answer
