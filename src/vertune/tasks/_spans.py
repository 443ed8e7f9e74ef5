"""Parses and checks columns of labelled spans (marked parts of a text), and removes overlapping spans.

Independent of tokens and models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from vertune.core.columns import named
from vertune.core.documents import parse_json
from vertune.core.errors import DataError
from vertune.tasks import _offsets

if TYPE_CHECKING:
    import polars as pl


@cache
def entry() -> dict[str, pl.DataType]:
    """Return the Polars types of the fields of a labelled span: `start` and `end` (positions in the text), and `label`."""
    import polars as pl

    return {"start": pl.Int64(), "end": pl.Int64(), "label": pl.String()}


@cache
def as_column() -> pl.DataType:
    """Return the Polars type of a column of spans: a list of {start, end, label} per row."""
    import polars as pl

    return pl.List(pl.Struct(entry()))


_LINE = 1 << 32
"""A number of code points that is larger than the length of any text."""


def read(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Parse the column `name` to lists of spans, and add the column `__unread`.

    `__unread` contains, for each row, the reason why its value can't be parsed, or null if it can. Raises DataError
    only if the type of the column can't contain spans, such as a column of numbers.
    """
    import polars as pl

    kind = frame.schema[name]
    inner = kind.inner if isinstance(kind, pl.List) else None
    fields = {field.name: field.dtype for field in inner.fields} if isinstance(inner, pl.Struct) else {}
    plain = (
        kind == pl.Null
        or inner == pl.Null
        or all(key in fields and (fields[key].is_integer() if key != "label" else fields[key] == pl.String) for key in entry())
    )
    if plain:
        value = named(name)
        if fields:
            value = value.list.eval(pl.struct(pl.element().struct.field(key).cast(dtype) for key, dtype in entry().items()))
        return frame.with_columns(value.cast(as_column()), pl.lit(None, pl.String).alias("__unread"))
    if not (kind == pl.String or kind.is_nested() or kind == pl.Object):
        raise DataError(
            f"The column '{name}' must contain lists of spans such as [{{start: 0, end: 5, label: PER}}], but has the type {kind}. "
            f"Name the column of the spans in the config: `data: {{fields: {{{name}: COLUMN}}}}`."
        )
    values, reasons = zip(*(_parse(value) for value in frame[name].to_list()), strict=True) if frame.height else ((), ())
    return frame.with_columns(pl.Series(name, values, as_column()), pl.Series("__unread", reasons, pl.String))


def _parse(value: Any) -> tuple[list[dict[str, Any]] | None, str | None]:
    """Parse one cell, and return its spans and the reason why the cell can't be parsed.

    A cell is a list of spans, each a mapping or a tuple (start, end, label), or the JSON text of such a list. If
    parsing fails, the spans are None; if it succeeds, the reason is None; if the cell is null, both the spans and the
    reason are None.
    """
    try:
        items = parse_json(value) if isinstance(value, str) else value
        if items is None:
            return None, None
        return [_span(item) for item in items], None
    except (ValueError, TypeError, KeyError):
        return None, "the spans are not a list of {start, end, label} with whole numbers"


def _span(item: Any) -> dict[str, Any]:
    """Convert a mapping with `start`, `end` and `label`, or a tuple (start, end, label), to a span.

    Raises ValueError if start or end is not a whole number.
    """
    start, end, label = (item["start"], item["end"], item["label"]) if isinstance(item, Mapping) else item
    if isinstance(start, bool) or isinstance(end, bool) or int(start) != start or int(end) != end:
        raise ValueError("the start and the end of a span must be whole numbers")
    return {"start": int(start), "end": int(end), "label": str(label) if label is not None else None}


def check(frame: pl.DataFrame, text: str, name: str) -> pl.DataFrame:
    """Check the spans in the column `name` against the texts in the column `text`; add the columns `__problem` and `__overlap`.

    `__problem` is the reason why a span of the row is invalid, such as bounds outside of the text; it is null if all
    spans are valid. No error is raised. `__overlap` is true if at least two spans of the row overlap.
    """
    import polars as pl

    numbered = frame.with_row_index("__number")
    long = (
        numbered.filter(named(name).list.len() > 0)
        .select("__number", pl.col(text).cast(pl.String).str.len_chars().alias("length"), named(name).alias("span"))
        .explode("span")
        .with_columns(pl.col("span").struct.field(key).alias(key) for key in entry())
        .sort("__number", "start", "end")
    )
    bounds_text = pl.format("({}, {})", pl.col("start"), pl.col("end"))
    bounds = (pl.col("start") >= 0) & (pl.col("end") <= pl.col("length")) & (pl.col("start") < pl.col("end"))
    problem = (
        pl.when(pl.col("start").is_null() | pl.col("end").is_null())
        .then(pl.lit("a span has no start or no end"))
        .when(~bounds)
        .then(pl.format("the span {} is empty or outside the text of {} code points", bounds_text, pl.col("length")))
        .when(pl.col("label").is_null() | (pl.col("label").str.strip_chars() == ""))
        .then(pl.format("the span {} has no label", bounds_text))
    )
    # each row is shifted by its number times _LINE, so that one running maximum gives the furthest end so far within a row
    row = pl.col("__number").cast(pl.Int64) * _LINE
    reached = (row + pl.col("end").clip(0, _LINE - 1)).cum_max().shift(1)
    problems = long.select("__number", problem.alias("__problem")).drop_nulls().unique("__number", keep="first", maintain_order=True)
    overlapping = long.filter(row + pl.col("start") < reached)["__number"].unique()
    return (
        numbered.join(problems, on="__number", how="left", maintain_order="left")
        .with_columns(pl.col("__number").is_in(overlapping.implode()).alias("__overlap"))
        .drop("__number")
    )


def located(frame: pl.DataFrame, text: str, name: str, unit: str) -> pl.DataFrame:
    """Convert the positions of the spans in the column `name`, as `read` returns them, from `unit` to code points.

    If a span does not begin and end between two characters of its text, `__unread` is set to this reason.
    """
    import polars as pl

    if unit == "code_points":
        return frame
    values, reasons = frame[name].to_list(), frame["__unread"].to_list()
    for row, content in enumerate(frame[text].cast(pl.String).to_list()):
        if values[row] and content and _offsets.differs(content, unit):
            spans = _offsets.convert(content, values[row], unit)
            values[row] = spans if spans is not None else values[row]
            reasons[row] = reasons[row] if spans is not None else f"a span does not begin and end between two characters, counted in {unit}"
    return frame.with_columns(pl.Series(name, values, as_column()), pl.Series("__unread", reasons, pl.String))


def first(spans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Remove overlaps: keep each span that begins behind all spans before it; of spans with the same start, the longest is kept."""
    remaining: list[dict[str, Any]] = []
    for span in sorted(spans, key=lambda span: (span["start"], -span["end"])):
        if not remaining or span["start"] >= remaining[-1]["end"]:
            remaining.append(dict(span))
    return remaining


def resolve(frame: pl.DataFrame, name: str, choose: Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """Remove overlapping spans, and list the removed spans in the new column `__dropped`.

    `choose` returns those spans of a row that are kept. Rows in which `check` found a problem are not changed.
    """
    import polars as pl

    rows = frame.select(pl.col("__overlap") & pl.col("__problem").is_null()).to_series().to_numpy().nonzero()[0]
    dropped: list[list[dict[str, Any]]] = [[] for _ in range(frame.height)]
    if len(rows):
        values = frame[name].to_list()
        for row in rows:
            remaining = choose(values[row])
            removed = Counter(places(values[row])) - Counter(places(remaining))
            dropped[row] = [{"start": start, "end": end, "label": label} for start, end, label in sorted(removed.elements())]
            values[row] = remaining
        frame = frame.with_columns(pl.Series(name, values, as_column()))
    return frame.with_columns(pl.Series("__dropped", dropped, as_column()))


def by_label(frame: pl.DataFrame, name: str) -> str:
    """Return how many spans of each label `resolve` removed, for a note, such as `FIRST (60 of 60), PER (2 of 80)`.

    The labels with the most removed spans come first, at most 10.
    """
    dropped, kept = (_label_counts(frame[column]) for column in ("__dropped", name))
    shown = [f"{label} ({count} of {count + kept[label]})" for label, count in dropped.most_common(10)]
    return ", ".join(shown) + (" …" if len(dropped) > 10 else "")


def _label_counts(spans: pl.Series) -> Counter[str]:
    """Count the spans of each label in a column of spans."""
    return Counter(spans.explode(empty_as_null=True).drop_nulls().struct.field("label").to_list())


def places(spans: Iterable[Mapping[str, Any]]) -> list[tuple[int, int, str]]:
    """Return the spans as sorted tuples (start, end, label), so that two lists of spans can be compared."""
    return sorted((span["start"], span["end"], span["label"]) for span in spans)


def in_words(text: str, spans: Sequence[Mapping[str, Any]]) -> str:
    """Format the spans of a text for a report, such as `Paris [city]; Anna [person]`; without spans, return `none`.

    Each span is shown as the part of the text that it covers, followed by its label in brackets.
    """
    return "; ".join(f"{text[span['start'] : span['end']]} [{span['label']}]" for span in spans) or "none"
