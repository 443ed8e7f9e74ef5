"""What every source must keep to, as functions that take one with its options; knows nothing of any format.

Authors of sources run them on theirs, with a file of a few rows of which at least one can be read:

    for check in CHECKS:
        check(MySource(path="rows.mine"))
"""

from __future__ import annotations

import json
from collections.abc import Callable

import polars as pl

from vertune.core.config import dump
from vertune.core.kinds import Source
from vertune.core.parse import build

MARKS = {"__file": pl.String, "__row": pl.Int64, "__error": pl.String}


def check_marks(source: Source) -> None:
    """Every row says where it came from, and whether it could be read."""
    frame = source.read().lazy().collect()
    for name, kind in MARKS.items():
        assert frame.schema.get(name) == kind, f"{source.name}: the column {name} must be there as {kind}, it is {frame.schema.get(name)}"
    assert frame.height, f"{source.name}: a source without rows raises DataError instead of giving an empty frame"
    assert not frame["__file"].null_count(), f"{source.name}: __file is null in some rows"
    assert frame["__error"].null_count(), f"{source.name}: no row of the sample could be read"
    for (file,), rows in frame.group_by("__file"):
        numbers = rows["__row"].to_list()
        assert numbers == sorted(set(numbers)), f"{source.name}: __row must grow within {file}, and no two rows may share a number"
        assert numbers[0] >= 1, f"{source.name}: __row counts from 1"


def check_columns(source: Source) -> None:
    """Columns of the source's own never begin with two underscores, which mark ours."""
    frame = source.read().lazy().collect()
    strangers = [name for name in frame.columns if name.startswith("__") and name not in MARKS]
    assert not strangers, f"{source.name}: {strangers} begin with two underscores"


def check_again(source: Source) -> None:
    """Read twice, and read by a source built from the manifest, the rows are the same."""
    first = source.read().lazy().collect()
    again = build(type(source), {key: value for key, value in json.loads(json.dumps(dump(source))).items() if key != "name"})
    assert again.read().lazy().collect().equals(first, null_equal=True), f"{source.name}: the rows differ when they are read again"


def check_suffixes(source: Source) -> None:
    """File endings are written in lower case with their dot, as paths are compared."""
    for suffix in source.suffixes:
        assert suffix == f".{suffix.lower().removeprefix('.')}", f"{source.name}: the ending '{suffix}' must be such as .csv"


CHECKS: tuple[Callable[[Source], None], ...] = (check_marks, check_columns, check_again, check_suffixes)
