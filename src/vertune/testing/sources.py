"""Checks that a source, which reads rows from files or databases, obeys its contract; independent of any format.

Authors of a source run the checks on it, with the folder of its sample data:

    source = MySource.sample(folder)
    for check in CHECKS:
        check(source, folder)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl

from vertune.core.config import dump
from vertune.core.kinds import Source
from vertune.core.parse import build

MARKS = {"__file": pl.String, "__row": pl.Int64, "__error": pl.String}
"""The columns that every source must add, and their types."""


def check_marks(source: Source, folder: Path) -> None:
    """Check the columns `__file`, `__row` and `__error`, which contain the file, the number and the read error of each row.

    They must exist, with the right types. Row numbers must count from 1 and increase within a file. Some rows must have
    no error.
    """
    frame = source.read().lazy().collect()
    for name, kind in MARKS.items():
        assert frame.schema.get(name) == kind, f"{source.name}: the column {name} must have the type {kind}, not {frame.schema.get(name)}"
    assert frame.height, f"{source.name}: the frame is empty; a source without rows must raise DataError"
    assert not frame["__file"].null_count(), f"{source.name}: __file is null in some rows"
    assert frame["__error"].null_count(), f"{source.name}: every row of the sample has an error"
    for (file,), rows in frame.group_by("__file"):
        numbers = rows["__row"].to_list()
        assert numbers == sorted(set(numbers)), f"{source.name}: the values of __row must increase within {file}, without repetition"
        assert numbers[0] >= 1, f"{source.name}: __row must count from 1"


def check_columns(source: Source, folder: Path) -> None:
    """Check that no column of the data has a name that begins with two underscores.

    Such names are reserved for the columns that vertune defines, which `MARKS` lists.
    """
    frame = source.read().lazy().collect()
    reserved = [name for name in frame.columns if name.startswith("__") and name not in MARKS]
    assert not reserved, f"{source.name}: the names of the columns {reserved} must not begin with two underscores"


def check_again(source: Source, folder: Path) -> None:
    """Check that a source can be rebuilt from its options.

    The options are written as JSON, and a new source is built from them. It must read the same rows as the first one.
    """
    first = source.read().lazy().collect()
    again = build(type(source), {key: value for key, value in json.loads(json.dumps(dump(source))).items() if key != "name"})
    assert again.read().lazy().collect().equals(first, null_equal=True), f"{source.name}: a second reading returns other rows"


def check_suffixes(source: Source, folder: Path) -> None:
    """Check that the file name suffixes of a source, such as `.csv`, are in lower case and begin with a dot.

    Vertune finds the source for a path by comparing the lower-case path with these suffixes.
    """
    for suffix in source.suffixes:
        assert suffix == f".{suffix.lower().removeprefix('.')}", (
            f"{source.name}: the suffix '{suffix}' must begin with a dot and be in lower case, such as .csv"
        )


def check_fingerprint(source: Source, folder: Path) -> None:
    """Check that the fingerprint (hash) of a source depends on the content of its files, not on their modification times.

    A source that has no fingerprint (None) passes the check.
    """
    first = source.fingerprint()
    if first is None:
        return
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in files:
        os.utime(file, (0, 0))
    assert source.fingerprint() == first, f"{source.name}: the fingerprint depends on the modification time of a file"
    contents = {file: file.read_bytes() for file in files}
    for file, content in contents.items():
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert source.fingerprint() != first, f"{source.name}: the fingerprint is the same although a byte of every file has changed"
    for file, content in contents.items():
        file.write_bytes(content)
    assert source.fingerprint() == first, f"{source.name}: the fingerprint differs although the content is the same again"


CHECKS: tuple[Callable[[Source, Path], None], ...] = (check_marks, check_columns, check_again, check_suffixes, check_fingerprint)
