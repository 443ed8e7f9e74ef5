"""Measures what the columns of a table contain (such as running text, categories, numbers or spans), from their values and names.

Each task uses the result to guess whether it could read the table; see `vertune.core.profile`.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from vertune.core import column_names, columns, numerals, separators
from vertune.core.profile import SPLIT_WORDS, ColumnProfile, Kind, TableProfile
from vertune.data.fields import NO, YES

SAMPLE_ROWS = 20_000
"""Number of rows, from the start of a table, that are measured."""
_SPLITS = frozenset(word for words in SPLIT_WORDS.values() for word in words) | {"unused"}
_MOST_LABELS = 2000
_LISTS = 0.1
"""Least fraction of the cells that must be lists in a column of texts that is regarded as a column of lists."""
_LONGEST_LABEL = 40
"""Largest number of characters of a label in a cell with several."""
_LONGEST_CHINESE = 20
"""The same for a label with Chinese characters, each of which is about half a word."""
_SENTENCES = 0.1
"""Fraction of the cells that end like sentences from which they are sentences rather than lists of labels."""
_SENTENCE_END = re.compile(r"[。！？!?…]\s*$")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_REPEATED = {False: 2, True: 5}
"""How many rows there must be for each different label; more in a column (True) whose name is a usual one for texts."""
_RARE = 0.5
"""Largest fraction of the labels that may occur only once."""
_MOST_WORDS = 5
"""Largest number of words of a label in a cell with several."""
_LONGEST_CELL = 120
"""Mean length in characters above which cells are sentences rather than lists of labels."""
_CELLS = 5000
"""Number of different cells that are examined for a separator."""
_LIST_SAMPLE = 200
_DATES = re.compile(
    r"""\s*(?:
    \d{4}[-/.]\d{1,2}[-/.]\d{1,2} | \d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2}) | \d{4}年\d{1,2}月(?:\d{1,2}日)?
    | \d{1,2}[-\ .]\s?[A-Za-z]{3,9}\.?[-\ ,]\s?\d{2,4} | [A-Za-z]{3,9}\.?\ \d{1,2},?\ \d{4}
    )(?:[T\s,]+\d{1,2}[:时]\d{2}(?:[:分]\d{2}(?:\.\d+)?)?(?:\s?[AaPp][Mm])?(?:Z|[+-]\d{2}:?\d{2})?)?\s*""",
    re.VERBOSE,
)
_CODE = re.compile(r"(?=.*\d)(?!.*[\u3400-\u9fff]{5})[\w.:/-]+")
"""A word with a digit; five Chinese characters in a row are a phrase, because Chinese has no blanks between words."""
_FLAGS = (frozenset({"0", "1"}), frozenset({"false", "true"}))
"""The two values of a column that says whether something applies."""
_MOST_MARKS = 4
"""Number of different values, with capitals, up to which the values of a column may say whether something applies."""


def profile_table(frame: pl.DataFrame, texts: Sequence[str] = (), label: str | None = None) -> TableProfile:
    """Measure the columns of a table; columns without values are left out.

    `texts` and `label` are the columns that the user requested.
    """
    sample = frame.head(SAMPLE_ROWS)
    names = [name for name in frame.columns if not name.startswith("__")]
    measured = [_profile(name, columns.values(sample, name), name == frame.columns[-1]) for name in names]
    return TableProfile(tuple(column for column in measured if column is not None), frame.height, tuple(texts), label)


def names_splits(frame: pl.DataFrame, column: ColumnProfile) -> bool:
    """Return whether a column assigns rows to splits: all its values are names of splits, among them train and at least one other."""
    if column.kind not in {"category", "text"} or column.unique > len(_SPLITS):
        return False
    values = {str(value).strip().lower() for value in columns.values(frame, column.name).drop_nulls().unique()} - {""}
    return values <= _SPLITS and len(values) > 1 and any(value.startswith(("train", "训练")) for value in values)


def _profile(name: str, series: pl.Series, last: bool) -> ColumnProfile | None:
    """Measure one column; return None if it has no values. `last` is true for the last column of the table."""
    values = series.drop_nulls()
    if values.dtype == pl.String:
        values = values.filter(values.str.strip_chars() != "")  # empty cells count as missing
    if not len(values) or values.dtype == pl.Null:
        return None
    if values.dtype == pl.List(pl.String) and bool((values.list.len() == 1).all()):
        values = values.list.first()  # annotation tools write one label as a list, too
    roles = column_names.roles(name)
    nested = _nested_kind(values)
    if nested is not None:
        items = _items(values, None) if nested == "labels" else []
        about = _describe_labels(items, len(values)) if nested == "labels" else _NESTED.get(nested, "lists or mappings")
        return ColumnProfile(name, nested, len(values), len(set(items)), length=0.0, description=about, roles=roles, last=last)
    if values.dtype.is_float() and bool((values == values.round()).all()):
        values = values.cast(pl.Int64, strict=False).drop_nulls()  # workbooks store whole numbers as 1.0
    texts = values.cast(pl.String, strict=False).drop_nulls().str.strip_chars()
    if not len(texts):
        return None
    unique, length = texts.n_unique(), float(texts.str.len_chars().mean() or 0.0)  # type: ignore[arg-type]
    measured = ColumnProfile(name, "other", len(texts), unique, length, description="", roles=roles, last=last)
    # blank cells then say that something does not apply
    crossed = unique == 1 and len(texts) < len(series) and texts[0].lower() in YES
    return _measured(measured, pl.Boolean() if crossed else values.dtype, texts)


def _measured(column: ColumnProfile, dtype: pl.DataType, texts: pl.Series) -> ColumnProfile:
    """Return the profile of a column of plain values (no lists or mappings) with its kind and a description.

    `column` contains the measured sizes, `texts` the values as texts without blanks around them.
    """
    decimal = numerals.decimal_mark(texts.unique()) if dtype == pl.String else "point"
    separator = None
    whole = False
    if dtype.is_temporal() or _share(texts, _DATES) > 0.95:
        kind: Kind = "date"
    elif dtype == pl.Boolean or (column.unique <= _MOST_MARKS and frozenset(texts.str.to_lowercase().unique()) in _FLAGS):
        kind = "flags"
    elif dtype.is_numeric() or (decimal is not None and dtype == pl.String):
        numbers = pl.select(numerals.parsed(pl.lit(texts), decimal or "point")).to_series()
        whole = bool((numbers == numbers.round()).fill_null(True).all())
        kind = _number_kind(column, texts, whole)
    else:
        prose = column.role("text", "reply") >= 0.6 and column.role("text", "reply") > column.role("label")
        separator = separator_of(texts, column.role("label") >= 0.6, prose)
        kind = "labels" if separator else _word_kind(column, texts)
    about = _describe(kind, column, texts, decimal or "point", separator)
    marks = kind == "flags" or (1 < column.unique <= _MOST_MARKS and {*texts.str.to_lowercase().unique()} <= {*YES, *NO})
    return replace(column, kind=kind, description=about, separator=separator, decimal=decimal or "point", whole=whole, marks=marks)


def _share(texts: pl.Series, pattern: re.Pattern[str]) -> float:
    """Return the fraction of the first 200 texts that match the pattern completely."""
    head = texts.head(_LIST_SAMPLE).to_list()
    return sum(pattern.fullmatch(text) is not None for text in head) / len(head)


def _number_kind(column: ColumnProfile, texts: pl.Series, whole: bool) -> Kind:
    """Return the kind of a column of numbers: `id`, `number`, or `category` for a few whole numbers that occur often."""
    if whole and column.unique == column.filled > 2 and (column.role("id") > 0.6 or _counts_up(texts)):
        return "id"
    quantity = max(column.role("number"), column.role("meta")) > column.role("label") and column.unique > 2
    few = column.unique <= max(2, min(200, column.filled // 5))
    return "category" if whole and few and not quantity else "number"


def _counts_up(texts: pl.Series) -> bool:
    """Return whether whole numbers as texts are consecutive, as row numbers are."""
    numbers = texts.head(_LIST_SAMPLE).cast(pl.Int64, strict=False)
    return not numbers.null_count() and bool((numbers.diff().drop_nulls() == 1).all())


def _word_kind(column: ColumnProfile, texts: pl.Series) -> Kind:
    """Return the kind of a column of texts, one value per row: `id`, `category` or `text`."""
    if column.unique >= 0.98 * column.filled > 2 and column.length <= 40 and _share(texts, _CODE) > 0.95:
        return "id"
    few = column.unique <= max(2, min(_MOST_LABELS, column.filled // 2))
    named = column.role("label") >= 0.6 and column.unique < column.filled and column.length <= 60
    readable = column.role("text") >= 0.6 and column.unique > 0.2 * column.filled
    return "category" if named or (few and column.length <= 60 and not readable) else "text"


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


_NESTED: dict[str, str] = {"spans": "start, end and label of parts of a text", "answers": "a text and where it starts"}


def _nested_kind(values: pl.Series) -> Kind | None:
    """Return the kind of a column of lists or mappings, or of texts that contain such values; None for a column of other values."""
    if values.dtype == pl.String:
        head = values.head(_LIST_SAMPLE).to_list()
        parsed = [_parsed(text) if text.lstrip().startswith(("[", "{")) else None for text in head]
        words = [text for text, value in zip(head, parsed, strict=True) if value is None]
        if len(words) > (1 - _LISTS) * len(head) or any(len(word) > _LONGEST_LABEL for word in words):
            return None
        kind = _value_kind([value for value in parsed if value is not None])
        return kind if not words or kind == "labels" else None  # a column may contain a word in one row, and a list in the next
    if not values.dtype.is_nested() and values.dtype != pl.Object:
        return "other" if values.dtype == pl.Binary else None
    return _value_kind(values.head(_LIST_SAMPLE).to_list())


def _parsed(text: str) -> Any:
    """Parse the text of a list or mapping, as JSON or as a Python literal; None if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _value_kind(values: Sequence[Any]) -> Kind:
    """Return the kind of a column from its parsed lists or mappings."""
    entries = [item for value in values for item in (value if isinstance(value, list) else [value])]
    if not entries:
        return "labels"
    if all(isinstance(item, str) for item in entries):
        return "labels"
    if all(isinstance(item, dict) for item in entries):
        keys = set().union(*entries)
        if {"start", "end"} <= keys and keys & {"label", "labels"}:
            return "spans"
        return "answers" if "text" in keys and keys & {"start", "answer_start"} else "other"
    triple = all(isinstance(item, (list, tuple)) and len(item) == 3 and isinstance(item[2], str) for item in entries)
    return "spans" if triple else "other"


def _items(values: pl.Series, separator: str | None) -> list[str]:
    """Return all labels of a column of lists, or of texts in which `separator` separates them."""
    rows: list[Any] = values.to_list()
    if separator is not None:
        rows = [separators.split(row, separator) for row in rows]
    elif values.dtype == pl.String:
        rows = [[row] if (items := separators.listed(row)) is None else items for row in rows]
    return [str(item).strip() for row in rows for item in row if str(item).strip()]


def separator_of(texts: pl.Series, named: bool = False, prose: bool = False) -> str | None:
    """Return the text that separates several labels in the cells of a column, such as `|`; None if the cells are not lists of labels.

    The pieces must be short, and most of them must occur in several rows. `named` is whether the name of the column is a usual one for
    labels; then fewer cells must have several. `prose` is whether it is a usual one for texts; then labels must occur more often.
    """
    cells = texts.unique(maintain_order=True).head(_CELLS).to_list()
    ended = sum(_SENTENCE_END.search(cell) is not None for cell in cells)
    if float(texts.str.len_chars().mean() or 0.0) > _LONGEST_CELL or ended > _SENTENCES * len(cells):  # type: ignore[arg-type]
        return None  # sentences
    separator = separators.recognise(cells)
    if not separator:
        return None
    least = 0.3 if separator == " " or (separator in ",/" and not named) else 0.05
    if float(texts.str.contains(separator, literal=True).mean() or 0.0) < least:  # type: ignore[arg-type]
        return None
    pieces = Counter(_items(texts, separator))
    few = 1 < len(pieces) <= max(3, min(_MOST_LABELS, len(texts) // _REPEATED[prose]))
    short = all(len(piece) <= _longest(piece) and (separator == " " or len(piece.split()) <= _MOST_WORDS) for piece in pieces)
    once = sum(count == 1 for count in pieces.values())
    return separator if few and short and once <= _RARE * len(pieces) else None


def _longest(label: str) -> int:
    """Return the largest number of characters that this label may have in a cell with several."""
    return _LONGEST_CHINESE if _CHINESE.search(label) else _LONGEST_LABEL


# ── descriptions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _describe(kind: Kind, column: ColumnProfile, texts: pl.Series, decimal: numerals.Decimal, separator: str | None) -> str:
    """Describe the content of a column in a few words, such as `numbers from 1 to 5`, for a comment in a config."""
    if kind == "text":
        return f"text of {column.length:.0f} characters on average, {column.unique:,} different"
    if kind == "number":
        numbers = pl.select(numerals.parsed(pl.lit(texts), decimal)).to_series()
        marked = " with a decimal comma" if decimal == "comma" else ""
        least, most = (float(value) for value in (numbers.min(), numbers.max()))  # type: ignore[arg-type]
        return f"numbers from {least:g} to {most:g}{marked}"
    if kind == "labels":
        return _describe_labels(_items(texts, separator), len(texts), separator)
    if kind in {"category", "flags"} and column.unique == 1:
        return f"only one value: {short(texts[0])}"
    if kind in {"category", "flags"}:
        return f"{column.unique:,} different values: {_most(Counter(texts.to_list()), len(texts))}"
    return {"date": f"dates such as {texts[0]}", "id": "a different code in each row"}.get(kind, "other values")


def _describe_labels(items: Sequence[str], rows: int, separator: str | None = None) -> str:
    """Describe a column with several labels per row."""
    shown = separator if separator is None or separator.isprintable() else ascii(separator)[1:-1]
    between = f" separated by '{shown}'" if shown else " in lists"
    counts = Counter(items)
    return f"{len(counts):,} different labels{between}: {_most(counts, rows)}"


def _most(counts: Counter[str], rows: int) -> str:
    """Format the three most frequent values with the share of rows that have them."""
    shown = ", ".join(f"{short(word)} ({count / max(1, rows):.0%})" for word, count in counts.most_common(3))
    return f"{shown}{' …' if len(counts) > 3 else ''}"


def short(text: str, most: int = 30) -> str:
    """Shorten a text to `most` characters on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
