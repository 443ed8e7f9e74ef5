"""Parses the expected answers of question answering, finds them in their context, and marks the tokens where they start and end.

The context is the text that contains the answers. This module does not depend on any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.columns import named
from vertune.core.documents import parse_json
from vertune.core.records import Feature
from vertune.decoders.extract import nowhere

if TYPE_CHECKING:
    import polars as pl


@cache
def entry() -> dict[str, pl.DataType]:
    """Return the Polars types of the two fields of an expected answer: `start` (its position in the context) and `text`."""
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
    """Parse the column `name` to lists of expected answers, and add the columns `__problem` and `__moved`.

    A cell may contain a list of {start, text} or of texts, a mapping {text: […], answer_start: […]} as in SQuAD, one
    answer as text, or the JSON text of a list or mapping. `context` is the name of the column with the texts that
    contain the answers. If a context does not contain an answer at its `start`, but contains it at exactly one other
    position, `start` is set to that position, and `__moved` lists the answer as {start, moved_to, text}. If the answers
    of a row are invalid, `__problem` contains the reason, and no error is raised; in other rows, `__problem` is null.
    """
    import polars as pl

    typed = _is_typed(frame.schema[name])
    numbered = frame.with_row_index("__number")
    if typed:
        fields = pl.struct(pl.element().struct.field(field).cast(kind) for field, kind in entry().items())
        numbered = numbered.with_columns(named(name).list.eval(fields).cast(as_column()))
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
    """The result of parsing the expected answers of one row and of finding them in the row's context."""

    answers: list[dict[str, Any]] | None
    """A {start, text} per answer; None if the cell is empty or invalid."""
    problem: str | None = None
    """The reason why the cell is invalid; None if it is valid."""
    moved: list[dict[str, Any]] | None = None
    """A {start, moved_to, text} per answer that the context contains at another position than its given start."""

    @classmethod
    def of(cls, value: Any, context: str) -> _Cell:
        """Parse one cell, `value`, and find its answers in the context of the row.

        If this fails, the result contains the reason in `problem`; no error is raised.
        """
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
    """Return whether a Polars column type is a list of structs with an integer `start` and a string `text`."""
    import polars as pl

    inner = kind.inner if isinstance(kind, pl.List) else None
    fields = {field.name: field.dtype for field in inner.fields} if isinstance(inner, pl.Struct) else {}
    return "start" in fields and fields["start"].is_integer() and fields.get("text") == pl.String


def _in_place(numbered: pl.DataFrame, context: str, name: str) -> pl.Expr:
    """Return a Polars expression that is true for each row whose answers need no correction.

    These are the rows without answers, and the rows whose context contains each answer exactly at the answer's `start`.
    A row with a blank answer is not among them. `numbered` must contain the row numbers in the column `__number`.
    """
    import polars as pl

    long = (
        numbered.filter(named(name).list.len() > 0)
        .select("__number", pl.col(context).cast(pl.String).alias("context"), named(name).alias("answer"))
        .explode("answer")
        .with_columns(pl.col("answer").struct.field("start"), pl.col("answer").struct.field("text"))
    )
    there = pl.col("context").str.slice(pl.col("start"), pl.col("text").str.len_chars()) == pl.col("text")
    visible = pl.col("text").str.strip_chars() != ""
    wrong = long.filter(~(there & visible & (pl.col("start") >= 0)).fill_null(False))["__number"].unique()
    return ~pl.col("__number").is_in(wrong.implode())


class _Misplaced(ValueError):
    """Raised if an answer is empty, does not occur in the context, or occurs there several times but not at its `start`.

    The message of the error becomes the reason why the row is rejected.
    """


def _parse(cell: Any) -> list[tuple[int | None, str]] | None:
    """Return (start, text) for each answer of one cell, or None if the cell is null.

    The start is None if the cell contains only the text of the answer. Raises ValueError, TypeError or KeyError if the
    cell contains no answers in one of the forms that `read` lists.
    """
    if isinstance(cell, str):
        if cell.lstrip()[:1] not in ("[", "{"):
            return [(None, cell)] if cell.strip() else []
        cell = parse_json(cell)
    if cell is None:
        return None
    if isinstance(cell, Mapping):
        starts = cell.get("answer_start") or [None] * len(cell["text"])
        return [(start, text) for start, text in zip(starts, cell["text"], strict=True)]
    return [(item.get("start", item.get("answer_start")), item["text"]) if isinstance(item, Mapping) else (None, item) for item in cell]


def _placed(start: int | None, text: str, context: str) -> dict[str, Any]:
    """Find an answer in its context, and return it as {start, text}.

    If the context contains the text at the given `start`, this start is kept. Otherwise, the text must occur exactly
    once in the context, and the result contains the position where it occurs. Raises _Misplaced if the text is blank,
    if it does not occur, or if it occurs several times but not at `start`. Raises TypeError if `text` is not a string.
    """
    if not isinstance(text, str) or isinstance(start, bool):
        raise TypeError("the text of an answer must be a string, and its start a whole number")
    if not text.strip():
        raise _Misplaced("the text of an answer is empty; write [] instead if the context does not contain any answer")
    if start is not None and start >= 0 and context[start : start + len(text)] == text:
        return {"start": int(start), "text": text}
    position = context.find(text)
    if position < 0:
        raise _Misplaced("the context does not contain the text of an answer")
    if context.find(text, position + 1) >= 0:
        raise _Misplaced(f"the context contains the text of an answer more than once, but not at the given start ({start})")
    return {"start": position, "text": text}


def mark(feature: Feature, answers: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.int64], bool]:
    """Return the training target of each token of a model input, and whether the input contains a complete answer.

    The targets have the shape (tokens,). The target of a token of the context is the sum of START (1) if a complete
    answer starts in the token and END (2) if one ends in it; it is 0 if neither is so. The special token that stands
    for "no answer" (see `decoders.extract.nowhere`) has the target START + END if the input contains no complete
    answer, else 0. All other tokens have -100, which the loss ignores.
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
