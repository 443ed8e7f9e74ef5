"""Reads, checks and places the expected answers of a context, and marks them on tokens; knows nothing of models."""

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
    """The fields of one entry, with their types."""
    import polars as pl

    return {"start": pl.Int64(), "text": pl.String()}


@cache
def as_column() -> pl.DataType:
    """The type of a column of them."""
    import polars as pl

    return pl.List(pl.Struct(entry()))


START, END = 1, 2
"""Bits of a token's target; 0 is neither, -100 is where no answer may be."""


def read(frame: pl.DataFrame, context: str, name: str) -> pl.DataFrame:
    """The frame with the answers in their own type, `__problem` with the reason why a row's can't be, and `__moved`.

    A cell is a list of {start, text}, SQuAD's {text: […], answer_start: […]}, a text alone, or one of these as JSON. An answer
    that does not stand at its start is taken where the context holds it exactly once; `__moved` lists these, each with its old
    and its new start.
    """
    import polars as pl

    typed = _is_typed(frame.schema[name])
    numbered = frame.with_row_index("__number")
    if typed:
        fields = pl.struct(pl.element().struct.field(field).cast(kind) for field, kind in entry().items())
        numbered = numbered.with_columns(pl.col(name).list.eval(fields).cast(as_column()))
    hard = numbered.filter(~_in_place(numbered, context, name)) if typed else numbered
    cells = [_Cell.of(cell, text or "") for cell, text in zip(hard[name].to_list(), hard[context].cast(pl.String).to_list(), strict=True)]
    moved = pl.List(pl.Struct({"start": pl.Int64(), "moved_to": pl.Int64(), "text": pl.String()}))
    checked = hard.select("__number").with_columns(
        pl.Series("__placed", [cell.answers for cell in cells], as_column()),
        pl.Series("__problem", [cell.problem for cell in cells], pl.String),
        pl.Series("__moved", [cell.moved for cell in cells], moved),
    )
    joined = numbered.join(checked, on="__number", how="left", maintain_order="left")
    column = pl.coalesce("__placed", name) if typed else pl.col("__placed")
    return joined.with_columns(column.alias(name)).drop("__number", "__placed")


@dataclass(frozen=True, slots=True)
class _Cell:
    """The expected answers of one row, as they were read."""

    answers: list[dict[str, Any]] | None
    problem: str | None = None
    """Why they can't be used."""
    moved: list[dict[str, Any]] | None = None

    @classmethod
    def of(cls, value: Any, context: str) -> _Cell:
        """Read one value and find its answers in the context."""
        try:
            found = _parse(value)
            placed = None if found is None else [_placed(start, text, context) for start, text in found]
        except _Misplaced as error:
            return cls(None, str(error))
        except (ValueError, TypeError, KeyError):
            return cls(None, "the answers are not a list of {start, text}")
        moved = [
            {"start": start, "moved_to": item["start"], "text": item["text"]}
            for (start, _), item in zip(found or (), placed or (), strict=True)
            if start is not None and start != item["start"]
        ]
        return cls(placed, moved=moved)


def _is_typed(kind: pl.DataType) -> bool:
    """Whether a column already holds lists of a whole number and a text."""
    import polars as pl

    inner = kind.inner if isinstance(kind, pl.List) else None
    fields = {field.name: field.dtype for field in inner.fields} if isinstance(inner, pl.Struct) else {}
    return "start" in fields and fields["start"].is_integer() and fields.get("text") == pl.String


def _in_place(numbered: pl.DataFrame, context: str, name: str) -> pl.Expr:
    """Whether all answers of a row stand where their start says; also where there is none or no list."""
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
    """An answer that the context does not hold, or holds more than once; the message is the reason of its row."""


def _parse(cell: Any) -> list[tuple[int | None, str]] | None:
    """Start and text of each answer of one cell; None where there is no cell."""
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
    """The answer where it stands in the context."""
    if not isinstance(text, str):
        raise TypeError("an answer must be a text")
    if not text.strip():
        raise _Misplaced("an answer is empty; write [] where the context holds none")
    if start is not None and start >= 0 and context[start : start + len(text)] == text:
        return {"start": int(start), "text": text}
    place = context.find(text)
    if place < 0:
        raise _Misplaced("an answer is not in the context")
    if context.find(text, place + 1) >= 0:
        raise _Misplaced(f"an answer is not at its start ({start}), and the context holds it more than once")
    return {"start": place, "text": text}


def mark(feature: Feature, answers: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.int64], bool]:
    """The target of each token, and whether the feature holds an answer whole; without one, the place of no answer is marked."""
    assert feature.places is not None
    offsets = feature.places.offsets
    bits = np.full(feature.positions, -100, np.int64)
    context = np.flatnonzero(feature.places.segments == 1)
    none = nowhere(feature)
    bits[context] = bits[none] = 0
    starts, ends = offsets[context].T
    held = False
    for answer in answers:
        start, end = int(answer["start"]), int(answer["start"]) + len(answer["text"])
        touched = context[(ends > start) & (starts < end)]
        if len(touched) and offsets[touched[0], 0] <= start and offsets[touched[-1], 1] >= end:
            bits[touched[0]] |= START
            bits[touched[-1]] |= END
            held = True
    if not held:
        bits[none] = START | END
    return bits, held
