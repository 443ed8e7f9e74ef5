"""Assigns rows, or groups of rows, to training, validation and test, depending on their content and not on their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core import content
from vertune.core.columns import values
from vertune.core.errors import ConfigError, DataError
from vertune.core.records import Column

FEWEST = 4
"""Minimum number of distinct texts (rows with different inputs) that a dataset must have to be divided into splits."""
_RANGES = 10
"""Maximum number of ranges into which the values of a numeric target are divided, to use the ranges as classes."""
_RANGE_ROWS = 20
"""With fewer than nine times this number of rows, there are fewer ranges, so that each contains enough rows."""

Codes = NDArray[np.int64]


def column(frame: pl.DataFrame, name: str, purpose: str) -> pl.Series:
    """Return the column `name`; raise ConfigError if it is missing.

    `purpose` is what the column is needed for, such as `its groups`, for the error message.
    """
    if name not in frame.columns:
        known = ", ".join(column for column in frame.columns if not column.startswith("__"))
        raise ConfigError(
            f"The split needs the column '{name}' for {purpose}, but the data has only the columns {known}. Name one of them."
        )
    return values(frame, name)


def inputs(columns: Sequence[Column]) -> list[str]:
    """Return the names of the input columns, which the model reads."""
    return [column.name for column in columns if column.role == "input"]


def strata(frame: pl.DataFrame, columns: Sequence[Column], by: str = "auto") -> Codes:
    """Return a class number for each row; in a stratified split, training, validation and test have equal proportions of classes.

    The class is the value in the column `by`, or in the first column of expected answers if `by` is `auto`. If the values are numbers,
    the classes are up to ten ranges of values with equal numbers of rows. If a row has several labels, its class is the rarest of
    them, so that every split gets rare labels. For question answering there are two classes: rows with an answer and rows without
    one. If there is no column of expected answers, all rows have the same class.
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
    """Return, for each row, the one of its labels that occurs least often in all rows; an empty text for a row without labels.

    `values` contains a list of labels, spans or answers for each row. Answers have no labels, so the result is `true` for a row with
    an answer.
    """
    table = pl.DataFrame({"row": range(len(values)), "item": values}).explode("item", empty_as_null=True)
    if isinstance(table.schema["item"], pl.Struct):
        fields = table["item"].struct.fields
        table = table.with_columns(
            pl.col("item").struct.field("label").alias("item") if "label" in fields else pl.col("item").is_not_null().cast(pl.String)
        )
    table = table.with_columns(pl.col("item").cast(pl.String).fill_null(""), pl.len().over("item").alias("count"))
    return table.sort("row", "count", "item").group_by("row", maintain_order=True).first()["item"]


def shares(frame: pl.DataFrame, columns: Sequence[Column], wanted: Mapping[str, float], by: str = "auto", salt: str = "") -> pl.Series:
    """Divide rows at random into splits with equal proportions of classes (see `strata`); return the name of the split of each row.

    `wanted` maps the name of a split to the fraction of each class that it gets; `train` gets the rest, at least one text of each
    class. Rows whose inputs are equal, except for case and white space, get the same split. The texts of a class are assigned in the
    order of their hashes, so that the order of rows and files does not matter; another `salt` gives other hashes. Raises DataError if
    there are fewer than 4 distinct texts.
    """
    if not any(wanted.values()):
        return pl.Series("split", ["train"], dtype=pl.String).new_from_index(0, frame.height)
    texts, text_of_row = np.unique(content.of_inputs(frame, inputs(columns), salt), return_inverse=True)
    if len(texts) < FEWEST:
        raise DataError(
            f"{len(texts)} distinct {'text' if len(texts) == 1 else 'texts'} can't be divided into training, validation and test: "
            f"at least {FEWEST} are needed, and some hundred are recommended. Add rows."
        )
    classes = _class_of_text(strata(frame, columns, by), text_of_row, len(texts))
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
    return pl.Series("split", names[text_of_row], dtype=pl.String)


def _rounded(sizes: Codes, share: float, room: Codes) -> Codes:
    """Return how many texts of each class a split gets: about the fraction `share` of the class, but at most `room` texts.

    `sizes` is the number of texts in each class, and `room` is the number of them that are not yet assigned and may be taken. The
    results are rounded so that their sum is the fraction `share` of all texts, and at least 1 unless `share` is 0. If the sum is too
    small because of `room`, one more text is taken from some classes, first from those with the most texts left.
    """
    if share == 0:
        return np.zeros_like(sizes)
    ends = np.floor(np.cumsum(sizes) * share + 0.5).astype(np.int64)
    counts = np.minimum(np.diff(ends, prepend=0), room)
    missing = max(1, int(ends[-1])) - int(counts.sum())
    for number in np.argsort(-(room - counts), kind="stable")[: max(0, missing)]:
        counts[number] += counts[number] < room[number]
    return np.asarray(counts, np.int64)


def blocks(sizes: Codes, test: float, validation: float) -> NDArray[np.object_]:
    """Return the split of each block (group of rows that stay together): `test` for the first ones, then `validation`, then `train`.

    `sizes` is the number of rows of each block. The test gets the fraction `test` of all rows, and the validation the fraction
    `validation` of the other rows. If a block crosses the border between two splits, its middle row decides. Training, and each split
    whose fraction is not 0, get at least one block. Raises DataError if there are fewer blocks than these splits.
    """
    wanted = 1 + (test > 0) + (validation > 0)
    if len(sizes) < wanted:
        raise DataError(
            f"The rows have only {len(sizes)} different groups or times; expected at least {wanted}, one for each split of the data. "
            "Choose another way to split the data, or add rows."
        )
    middle = np.cumsum(sizes) - sizes / 2
    edge = test * sizes.sum()
    line = edge + validation * (sizes.sum() - edge)
    tests = min(max(int((middle <= edge).sum()), int(test > 0)), len(sizes) - wanted + (test > 0)) if test else 0
    checks = min(max(int((middle <= line).sum()) - tests, 1), len(sizes) - tests - 1) if validation else 0
    return np.array(["test"] * tests + ["validation"] * checks + ["train"] * (len(sizes) - tests - checks), dtype=object)


def _class_of_text(classes: Codes, place: Codes, texts: int) -> Codes:
    """Return, for each distinct text, the most frequent class of its rows; among equally frequent classes, the smallest number.

    For each row, `classes` contains the number of its class, and `place` contains the index of its text. `texts` is the number of
    distinct texts.
    """
    count = int(classes.max()) + 1
    pairs, rows = np.unique(place * count + classes, return_counts=True)
    text, kind = np.divmod(pairs, count)
    order = np.lexsort((kind, -rows, text))
    first: Codes = np.searchsorted(text[order], np.arange(texts))
    return np.asarray(kind[order][first], np.int64)
