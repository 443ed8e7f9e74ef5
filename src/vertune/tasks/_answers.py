"""How answers inside a context are read, checked and marked on tokens; knows nothing of models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.errors import ModelError
from vertune.core.records import Feature

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


def read(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The frame with `answers` in their own type and `__problem` with the reason why a row's can't be; how many were found elsewhere.

    A cell is a list of {start, text}, SQuAD's {text: […], answer_start: […]}, a text alone, or one of these as JSON. An answer
    that does not stand at its start is taken where the context holds it exactly once.
    """
    import polars as pl

    plain = _plain(frame.schema["answers"])
    numbered = frame.with_row_index("__number")
    if plain:
        fields = pl.struct(pl.element().struct.field(name).cast(kind) for name, kind in entry().items())
        numbered = numbered.with_columns(pl.col("answers").list.eval(fields).cast(as_column()))
    hard = numbered.filter(~_standing(numbered)) if plain else numbered
    values: list[list[dict[str, Any]] | None] = []
    reasons: list[str | None] = []
    moved = 0
    for cell, context in zip(hard["answers"].to_list(), hard["context"].cast(pl.String).to_list(), strict=True):
        try:
            found = _parse(cell)
            placed = None if found is None else [_placed(start, text, context or "") for start, text in found]
        except (ValueError, TypeError, KeyError) as error:
            values.append(None)
            reasons.append(str(error) if isinstance(error, _Misplaced) else "the answers are no list of {start, text}")
            continue
        moved += sum(start != item["start"] for (start, _), item in zip(found or (), placed or (), strict=True))
        values.append(placed)
        reasons.append(None)
    checked = hard.select("__number").with_columns(pl.Series("__placed", values, as_column()), pl.Series("__problem", reasons, pl.String))
    joined = numbered.join(checked, on="__number", how="left", maintain_order="left")
    column = pl.coalesce("__placed", "answers") if plain else pl.col("__placed")
    return joined.with_columns(column.alias("answers")).drop("__number", "__placed"), moved


def _plain(kind: pl.DataType) -> bool:
    """Whether a column already holds lists of a whole number and a text."""
    import polars as pl

    inner = kind.inner if isinstance(kind, pl.List) else None
    fields = {field.name: field.dtype for field in inner.fields} if isinstance(inner, pl.Struct) else {}
    return "start" in fields and fields["start"].is_integer() and fields.get("text") == pl.String


def _standing(numbered: pl.DataFrame) -> pl.Expr:
    """Whether all answers of a row stand where they say; also where there is none or no list."""
    import polars as pl

    long = (
        numbered.filter(pl.col("answers").list.len() > 0)
        .select("__number", pl.col("context").cast(pl.String), pl.col("answers").alias("answer"))
        .explode("answer")
        .with_columns(pl.col("answer").struct.field("start"), pl.col("answer").struct.field("text"))
    )
    there = pl.col("context").str.slice(pl.col("start"), pl.col("text").str.len_chars()) == pl.col("text")
    visible = pl.col("text").str.strip_chars() != ""
    wrong = long.filter(~(there & visible & (pl.col("start") >= 0)).fill_null(False))["__number"].unique()
    return ~pl.col("__number").is_in(wrong.implode())


class _Misplaced(ValueError):
    """An answer that the context does not hold where it should."""


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
        raise TypeError("an answer is a text")
    if not text.strip():
        raise _Misplaced("an answer is empty; write [] where the context holds none")
    if start is not None and start >= 0 and context[start : start + len(text)] == text:
        return {"start": int(start), "text": text}
    place = context.find(text)
    if place < 0:
        raise _Misplaced("an answer is not in the context")
    if context.find(text, place + 1) >= 0:
        raise _Misplaced(f"an answer does not stand at its start ({start}), and the context holds it more than once")
    return {"start": place, "text": text}


def nowhere(feature: Feature) -> int:
    """The token that stands for no answer: the first special one, [CLS] in most bases."""
    assert feature.places is not None
    special = np.flatnonzero(feature.places.segments < 0)
    if not len(special):
        raise ModelError("The task 'extract' needs a base whose tokenizer adds a special token such as [CLS]; this one adds none.")
    return int(special[0])


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


def best(feature: Feature, output: NDArray[Any], longest: int) -> tuple[float, float, int, int]:
    """Log-probability of no answer, of the best answer, and that answer's start and end in code points of the context.

    Both are sums over start and end under a softmax over the context and the place of no answer.
    """
    none = nowhere(feature)
    assert feature.places is not None
    offsets = feature.places.offsets
    context = np.flatnonzero((feature.places.segments == 1) & (offsets[:, 1] > offsets[:, 0]))
    if not len(context):
        return 0.0, -np.inf, 0, 0
    logits = output[np.concatenate([[none], context])].astype(np.float64)
    logits -= logits.max(axis=0)
    scores = logits - np.log(np.exp(logits).sum(axis=0))
    starts, ends = offsets[context].T
    length = ends[None, :] - starts[:, None]
    allowed = np.triu(np.ones(length.shape, bool)) & (length <= longest)
    if not allowed.any():
        return float(scores[0].sum()), -np.inf, 0, 0
    joint = np.where(allowed, scores[1:, 0][:, None] + scores[1:, 1][None, :], -np.inf)
    first, last = np.unravel_index(int(joint.argmax()), joint.shape)
    return float(scores[0].sum()), float(joint[first, last]), int(starts[first]), int(ends[last])
