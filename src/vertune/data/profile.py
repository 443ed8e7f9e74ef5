"""Guesses what each column of a table contains (such as text, single words, numbers or spans), for the command `vertune init`.

The command uses the guesses to choose the columns with the input text and the label.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

Kind = Literal["text", "word", "words", "number", "spans", "answers", "other"]

_LABELS = (
    "label", "labels", "category", "categories", "class", "intent", "sentiment", "topic", "topics", "tags", "tag", "score", "rating",
    "stars", "target", "polarity", "relatedness", "similarity", "entailment", "type", "kind",
    "y", "grade", "标签", "类别", "分类", "意图", "情感",
)  # fmt: skip
_TEXTS = (
    "text", "sentence", "content", "utterance", "query", "question", "message", "review", "comment", "body", "document", "description",
    "title", "headline", "文本", "内容", "评论", "问题", "句子", "标题",
)  # fmt: skip
_NUMBERS = ("score", "rating", "stars", "relatedness", "similarity", "grade", "price", "value")
_IDS = ("id", "index", "idx", "uuid", "key", "row", "no", "编号")
_SPLITS = frozenset({"train", "training", "test", "testing", "validation", "valid", "dev", "val", "unused"})
_DELIMITERS = ("|", ";")
_MOST_WORDS = 2000


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What a column seems to contain: its kind, a description, and scores for how likely it is the label or the input text."""

    name: str
    kind: Kind
    unique: int
    length: float
    """Mean number of characters per value."""
    description: str
    """The content in words, for a comment in a config."""
    label_score: float
    """How likely the column is the label; 0 if it can't be, else larger is likelier."""
    text_score: float
    """How likely the column is running text; 0 if it can't be, else larger is likelier."""


def profile_columns(frame: pl.DataFrame) -> list[ColumnProfile]:
    """Guess what the columns of a table contain; return one profile for each column that is not empty."""
    profiles = [_profile(frame[name], name == frame.columns[-1]) for name in frame.columns]
    return [profile for profile in profiles if profile is not None]


def names_splits(frame: pl.DataFrame, column: ColumnProfile) -> bool:
    """Return whether a column assigns rows to splits: all its values are names of splits, among them train and at least one other."""
    if column.kind != "word" or column.unique > len(_SPLITS):
        return False
    values = {str(value).strip().lower() for value in frame[column.name].drop_nulls().unique()}
    return values <= _SPLITS and len(values) > 1 and any(value.startswith("train") for value in values)


def _profile(series: pl.Series, last: bool) -> ColumnProfile | None:
    """Guess what one column contains; return None if it is empty.

    `last` is true for the last column of the table, which is often the label.
    """
    values = series.drop_nulls()
    if values.dtype == pl.String:
        values = values.filter(values.str.strip_chars() != "")  # empty cells count as missing
    if not len(values):
        return None
    kind = _nested_kind(values)
    if kind is not None:
        return ColumnProfile(
            name=series.name, kind=kind, unique=0, length=0.0, description={"words": "a list of words"}.get(kind, kind),
            label_score=8.0 if kind == "words" else 0.0, text_score=0.0,
        )  # fmt: skip
    texts = values.cast(pl.String)
    unique, length = texts.n_unique(), float(texts.str.len_chars().mean() or 0.0)  # type: ignore[arg-type]
    kind = _scalar_kind(series.name, texts, unique, length)
    base_score = {"word": 2.0, "words": 2.0, "number": 1.0}.get(kind, 0.0) if unique > 1 else 0.0
    label = base_score + 6 * _rank(series.name, _LABELS) + (0.5 if last else 0.0) - 0.5 * unique / len(texts)
    text = 1 + 4 * _rank(series.name, _TEXTS) + min(length, 400) / 100 + unique / len(texts)
    return ColumnProfile(
        name=series.name,
        kind=kind,
        unique=unique,
        length=length,
        description=_describe(kind, texts, unique, length),
        label_score=label if base_score and series.name.strip().lower() not in _IDS else 0.0,
        text_score=text if kind == "text" else 0.0,
    )


def _nested_kind(values: pl.Series) -> Kind | None:
    """Guess the kind of a column of lists or mappings from its first values; return None for a column of other values.

    Texts with JSON lists are recognised too, but only if they contain spans or answers.
    """
    first: Any = values[0]
    if isinstance(first, pl.Series):
        rows = [list(row) for row in values.head(100)]
        entry = next((row[0] for row in rows if row), None)
    elif isinstance(first, str) and first.lstrip().startswith("[") and re.search(r'"(start|answer_start)"\s*:', "".join(values.head(100))):
        return "answers" if '"text"' in first and '"label"' not in first else "spans"
    elif isinstance(first, (dict, list)):
        return "answers" if isinstance(first, dict) and "answer_start" in first else "other"
    else:
        return None
    if isinstance(entry, dict):
        return "spans" if {"start", "end", "label"} <= set(entry) else "answers" if "text" in entry else "other"
    return "words" if isinstance(entry, str) or entry is None else "other"


def _scalar_kind(name: str, texts: pl.Series, unique: int, length: float) -> Kind:
    """Guess the kind of a column of plain values (not lists or mappings).

    `texts` are the values as texts, `unique` is the number of distinct texts, and `length` is the mean length of all texts in
    characters.
    """
    numbers = texts.cast(pl.Float64, strict=False)
    if not numbers.null_count():
        integers = bool((numbers == numbers.round()).all())
        quantity = _rank(name, _NUMBERS) > 0 and unique > 2
        return "word" if integers and not quantity and unique <= max(2, min(200, len(texts) // 5)) else "number"
    pieces = _pieces(texts)
    if pieces and 1 < len(pieces) <= max(3, min(_MOST_WORDS, len(texts) // 2)) and sum(map(len, pieces)) / len(pieces) < 40:
        return "words"
    few = unique <= max(2, min(_MOST_WORDS, len(texts) // 2))
    label_name = _rank(name, _LABELS) > 0 and unique < len(texts) and length <= 40
    return "word" if (few and length <= 60 and not _rank(name, _TEXTS)) or label_name else "text"


def _pieces(texts: pl.Series) -> Counter[str]:
    """Count the words in cells that list several, such as `red|blue`; the delimiter is `|` or `;`.

    Returns an empty counter if fewer than 5 % of the cells contain the delimiter; the column is then not regarded as lists.
    """
    for delimiter in _DELIMITERS:
        if float(texts.str.contains(delimiter, literal=True).mean() or 0.0) >= 0.05:  # type: ignore[arg-type]
            return Counter(piece.strip() for row in texts.str.split(delimiter) for piece in row if piece.strip())
    return Counter()


def _describe(kind: Kind, texts: pl.Series, unique: int, length: float) -> str:
    """Describe the content of a column in a few words, such as `numbers from 1 to 5`, for a comment in a config."""
    if kind == "text":
        return f"text of {length:.0f} characters on average, {unique:,} different"
    if kind == "number":
        numbers = texts.cast(pl.Float64, strict=False).drop_nulls().to_list()
        return f"numbers from {min(numbers):g} to {max(numbers):g}"
    counts = _pieces(texts) if kind == "words" else Counter(texts)
    top = ", ".join(f"{_short(word)} ({count / len(texts):.0%})" for word, count in counts.most_common(3))
    return f"{len(counts):,} different words{'' if kind == 'word' else ' in lists'}: {top}{' …' if len(counts) > 3 else ''}"


def _short(word: str) -> str:
    """Shorten a text to 30 characters on one line."""
    flat = " ".join(word.split())
    return flat if len(flat) <= 30 else flat[:29] + "…"


def _rank(name: str, candidates: Sequence[str]) -> float:
    """Score how well a column's name matches these candidates, which are ordered from the most to the least typical.

    The score is 1 if the name equals the first candidate, and decreases to about 0.5 if it equals the last one. It is 0.3 if the name
    only contains a candidate as a word (such as `label` in `ticket_label`), and 0 for any other name.
    """
    lower = name.strip().lower()
    words = re.split(r"[^a-z0-9一-鿿]+", lower)
    for index, candidate in enumerate(candidates):
        if lower == candidate:
            return 1 - 0.5 * index / len(candidates)
    return 0.3 if any(word in candidates for word in words) else 0.0
