"""Cuts shares out of rows by their content; knows nothing of the parts that use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core import content
from vertune.core.errors import ConfigError, DataError
from vertune.core.records import Column

FEWEST = 4
"""Distinct texts below which no division says anything."""
_RANGES = 10
_RANGE_ROWS = 20

Codes = NDArray[np.int64]


def column(frame: pl.DataFrame, name: str, purpose: str) -> pl.Series:
    """A column that a split reads; ConfigError names the columns that there are."""
    if name not in frame.columns:
        known = ", ".join(column for column in frame.columns if not column.startswith("__"))
        raise ConfigError(f"The split needs the column '{name}' for {purpose}, and the rows have: {known}. Name one of them.")
    return frame[name]


def inputs(columns: Sequence[Column]) -> list[str]:
    """Names of the inputs: rows in which they are equal are one text to a split."""
    return [column.name for column in columns if column.role == "input"]


def strata(frame: pl.DataFrame, columns: Sequence[Column], by: str = "auto") -> Codes:
    """A number for the class of each row, whose proportions a split keeps; one class for all where the frame has no target.

    A number column is cut into up to ten ranges of as many rows each; of several labels the rarest counts, so that it is in
    every split; of answers, whether there is one.
    """
    targets = (column.name for column in columns if column.role == "target" and column.name in frame.columns)
    name = next(targets, None) if by == "auto" else by
    if name is None:
        return np.zeros(frame.height, np.int64)
    values = column(frame, name, "its classes")
    if values.dtype.is_numeric():
        ranges = min(_RANGES, len(values) // _RANGE_ROWS + 1)
        values = (values.cast(pl.Float64).rank("average") * ranges / (len(values) + 1)).floor()
    elif isinstance(values.dtype, pl.List):
        values = _rarest(values)
    return values.cast(pl.String).fill_null("").rank("dense").cast(pl.Int64).to_numpy()


def _rarest(values: pl.Series) -> pl.Series:
    """Of the labels in each row the rarest; the empty text where there is none."""
    table = pl.DataFrame({"row": range(len(values)), "item": values}).explode("item", empty_as_null=True)
    if isinstance(table.schema["item"], pl.Struct):
        fields = table["item"].struct.fields
        table = table.with_columns(
            pl.col("item").struct.field("label").alias("item") if "label" in fields else pl.col("item").is_not_null().cast(pl.String)
        )
    table = table.with_columns(pl.col("item").cast(pl.String).fill_null(""), pl.len().over("item").alias("count"))
    return table.sort("row", "count", "item").group_by("row", maintain_order=True).first()["item"]


def shares(frame: pl.DataFrame, columns: Sequence[Column], wanted: Mapping[str, float], by: str = "auto", salt: str = "") -> pl.Series:
    """Names of splits: each wanted one takes its share of every class, `train` the rest and at least one text of each class.

    A text that stands in several rows is one text: all its rows go the same way. Texts of a class are ordered by their
    hash, so neither the order of rows nor that of files matters. DataError where there are too few texts.
    """
    if not any(wanted.values()):
        return pl.Series("split", ["train"], dtype=pl.String).new_from_index(0, frame.height)
    texts, place = np.unique(content.of_inputs(frame, inputs(columns), salt), return_inverse=True)
    if len(texts) < FEWEST:
        raise DataError(
            f"{len(texts)} distinct {'text' if len(texts) == 1 else 'texts'} can't be divided into training, validation and test: "
            f"at least {FEWEST} are needed, and some hundred make sense. Add rows."
        )
    classes = _class_of_text(strata(frame, columns, by), place, len(texts))
    order = np.lexsort((texts, classes))
    sizes = np.unique(classes, return_counts=True)[1]
    rank = np.arange(len(texts)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    names = np.full(len(texts), "train", dtype=object)
    left, taken = sizes - 1, np.zeros(len(sizes), np.int64)  # the first text of each class stays for training
    for name, share in wanted.items():
        size = _rounded(sizes, share, left)
        first = taken + 1
        names[order[(rank >= np.repeat(first, sizes)) & (rank < np.repeat(first + size, sizes))]] = name
        taken, left = taken + size, left - size
    return pl.Series("split", names[place], dtype=pl.String)


def _rounded(sizes: Codes, share: float, room: Codes) -> Codes:
    """How many of each class: rounded so that the sum over all classes is right too, and no more than there is room for.

    What a class has no room for is taken from the largest ones; one is taken at least where anything is wanted.
    """
    if share == 0:
        return np.zeros_like(sizes)
    ends = np.floor(np.cumsum(sizes) * share + 0.5).astype(np.int64)
    counts = np.minimum(np.diff(ends, prepend=0), room)
    missing = max(1, int(ends[-1])) - int(counts.sum())
    for place in np.argsort(-(room - counts), kind="stable")[: max(0, missing)]:
        counts[place] += counts[place] < room[place]
    return np.asarray(counts, np.int64)


def blocks(sizes: Codes, test: float, validation: float) -> NDArray[np.object_]:
    """Names of splits for blocks of rows that stay whole: the first ones fill test, the next validation, the rest train.

    A block goes where its middle falls; each wanted split gets one at least. DataError where there are too few blocks.
    """
    wanted = 1 + (test > 0) + (validation > 0)
    if len(sizes) < wanted:
        raise DataError(f"{len(sizes)} groups or times can't be divided into {wanted} splits. Choose another split, or add rows.")
    middle = np.cumsum(sizes) - sizes / 2
    edge = test * sizes.sum()
    line = edge + validation * (sizes.sum() - edge)
    tests = min(max(int((middle <= edge).sum()), int(test > 0)), len(sizes) - wanted + (test > 0)) if test else 0
    checks = min(max(int((middle <= line).sum()) - tests, 1), len(sizes) - tests - 1) if validation else 0
    return np.array(["test"] * tests + ["validation"] * checks + ["train"] * (len(sizes) - tests - checks), dtype=object)


def _class_of_text(classes: Codes, place: Codes, texts: int) -> Codes:
    """The class that most rows of each text have; of equally many the first."""
    count = int(classes.max()) + 1
    pairs, rows = np.unique(place * count + classes, return_counts=True)
    text, kind = np.divmod(pairs, count)
    order = np.lexsort((kind, -rows, text))
    first: Codes = np.searchsorted(text[order], np.arange(texts))
    return np.asarray(kind[order][first], np.int64)
