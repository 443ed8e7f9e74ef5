"""Contract checks of splits, which divide rows into train, validation and test; independent of how a split decides.

Authors of splits run them on their own, with a few hundred rows that have the columns it reads:

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
    """Return texts, one in five of them a duplicate, with a label and with the columns that the splits of vertune use."""
    draw = random.Random(0)  # noqa: S311 (not for cryptography)
    texts = [f"text number {row if row % 5 else max(0, row - 5)}" for row in range(count)]
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
    """Check that every row gets one of `NAMES`, and that training and validation get some rows."""
    names = split.divide(frame, COLUMNS)
    assert len(names) == frame.height, f"{split.name}: {len(names)} names for {frame.height} rows"
    assert set(names) <= NAMES, f"{split.name}: {set(names) - NAMES} are no splits"
    assert {"train", "validation"} <= set(names), f"{split.name}: only {set(names)} got rows"


def check_order(split: Split, frame: pl.DataFrame) -> None:
    """Check that shuffling the rows does not change which split each of them gets."""
    marked = frame.with_row_index("place")
    other = marked.sample(fraction=1.0, shuffle=True, seed=1)
    names = pl.DataFrame({"place": other["place"], "name": split.divide(other.drop("place"), COLUMNS)}).sort("place")["name"]
    assert names.to_list() == split.divide(frame, COLUMNS).to_list(), f"{split.name}: shuffled rows are divided in another way"


def check_columns(split: Split, frame: pl.DataFrame) -> None:
    """Check that `reads` names all columns that the split uses besides the task's fields, so that they are kept until the split."""
    needed = frame.select(*dict.fromkeys([*(column.name for column in COLUMNS), *split.reads]))
    assert split.divide(needed, COLUMNS).to_list() == split.divide(frame, COLUMNS).to_list(), (
        f"{split.name}: it looks at columns that `reads` does not name"
    )


def check_without(split: Split, frame: pl.DataFrame) -> None:
    """Check that `without` assigns no rows to splits whose rows come from separate files."""
    for given in ({"validation"}, {"test"}, {"validation", "test"}):
        able = given & set(type(split).model_fields)
        found = able & set(split.without(frozenset(given)).divide(frame, COLUMNS))
        assert not found - _by_column(split, frame), f"{split.name}: {found} is cut although it is given"


def _by_column(split: Split, frame: pl.DataFrame) -> set[str]:
    """Return the split names that the data itself contains, in the columns that the split reads."""
    return {str(value) for name in split.reads for value in frame[name].cast(pl.String).unique()}


CHECKS: tuple[Callable[[Split, pl.DataFrame], None], ...] = (check_names, check_order, check_columns, check_without)
