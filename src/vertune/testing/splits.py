"""Checks that a split, which divides rows into train, validation and test, obeys its contract; independent of how it decides.

Authors of a split run the checks on it, with a few hundred rows that have the columns that it reads:

    for check in CHECKS:
        check(MySplit(), rows())
"""

from __future__ import annotations

import random
from collections.abc import Callable

import polars as pl

from vertune.core.kinds import Split
from vertune.core.records import Column

NAMES = frozenset({"train", "validation", "test", "unused"})
COLUMNS = (Column("review", "The text."), Column("opinion", "The class.", role="target", type="label"))
"""The columns of a task with unusual field names: no split may rely on the names `text` and `label`."""


def rows(count: int = 300) -> pl.DataFrame:
    """Return a frame of texts, one in five equal to the text before it, with labels and with the columns that the splits of vertune read.

    These columns contain a group, a date and the name of a split for each row.
    """
    draw = random.Random(0)  # noqa: S311 (not for cryptography)
    texts = [f"text number {row if row % 5 else max(0, row - 1)}" for row in range(count)]
    return pl.DataFrame(
        {
            "review": texts,
            "opinion": [draw.choice("aaabbc") for _ in range(count)],
            "group": [f"customer {draw.randrange(count // 6)}" for _ in range(count)],
            "time": [f"2024-{1 + draw.randrange(12):02d}-{1 + draw.randrange(28):02d}" for _ in range(count)],
            "given": [draw.choice(["train", "train", "test", "unused"]) for _ in range(count)],
        }
    )


def check_names(split: Split, frame: pl.DataFrame) -> None:
    """Check that a split returns one of the names in `NAMES` (train, validation, test, unused) for every row.

    Some rows must be assigned to train, and some to validation.
    """
    names = split.divide(frame, COLUMNS)
    assert len(names) == frame.height, f"{split.name}: {len(names)} split names were returned for {frame.height} rows"
    assert set(names) <= NAMES, f"{split.name}: {set(names) - NAMES} are not names of splits; expected some of {NAMES}"
    assert {"train", "validation"} <= set(names), f"{split.name}: rows were assigned only to {set(names)}; train and validation need some"


def check_order(split: Split, frame: pl.DataFrame) -> None:
    """Check that the order in which rows are given has no effect on the split to which each row is assigned."""
    marked = frame.with_row_index("place")
    other = marked.sample(fraction=1.0, shuffle=True, seed=1)
    names = pl.DataFrame({"place": other["place"], "name": split.divide(other.drop("place"), COLUMNS)}).sort("place")["name"]
    assert names.to_list() == split.divide(frame, COLUMNS).to_list(), (
        f"{split.name}: rows are assigned to other splits if they are shuffled"
    )


def check_columns(split: Split, frame: pl.DataFrame) -> None:
    """Check that the attribute `reads` of a split names all columns that the split uses besides the task's fields.

    When vertune divides rows, a split gets only the task's fields and the columns that `reads` names.
    """
    needed = frame.select(*dict.fromkeys([*(column.name for column in COLUMNS), *split.reads]))
    assert split.divide(needed, COLUMNS).to_list() == split.divide(frame, COLUMNS).to_list(), (
        f"{split.name}: it uses columns that `reads` does not name"
    )


def check_without(split: Split, frame: pl.DataFrame) -> None:
    """Check the method `without`, which is called if the rows of validation or test come from separate sources.

    After it was called with `validation` or `test`, the split must assign no rows to them. A split that takes the names
    from a column of the data may still do so.
    """
    for given in ({"validation"}, {"test"}, {"validation", "test"}):
        able = given & set(type(split).model_fields)
        found = able & set(split.without(frozenset(given)).divide(frame, COLUMNS))
        assert not found - _by_column(split, frame), (
            f"{split.name}: rows were assigned to {found}, although these splits come from separate files"
        )


def _by_column(split: Split, frame: pl.DataFrame) -> set[str]:
    """Return all values, as texts, in the columns of the data that the split reads.

    If a split takes the name for each row from one of these columns, the values contain these names.
    """
    return {str(value) for name in split.reads for value in frame[name].cast(pl.String).unique()}


CHECKS: tuple[Callable[[Split, pl.DataFrame], None], ...] = (check_names, check_order, check_columns, check_without)
