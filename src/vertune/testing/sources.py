"""Contract checks of sources, on a source and the folder of its sample; independent of any format.

Authors of sources run them on their own:

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


def check_marks(source: Source, folder: Path) -> None:
    """Check that every row has `__file`, `__row` and `__error`, with the right types, and that row numbers increase within a file."""
    frame = source.read().lazy().collect()
    for name, kind in MARKS.items():
        assert frame.schema.get(name) == kind, f"{source.name}: the column {name} must be there as {kind}, it is {frame.schema.get(name)}"
    assert frame.height, f"{source.name}: a source without rows raises DataError instead of returning an empty frame"
    assert not frame["__file"].null_count(), f"{source.name}: __file is null in some rows"
    assert frame["__error"].null_count(), f"{source.name}: no row of the sample could be read"
    for (file,), rows in frame.group_by("__file"):
        numbers = rows["__row"].to_list()
        assert numbers == sorted(set(numbers)), f"{source.name}: __row must grow within {file}, and no two rows may share a number"
        assert numbers[0] >= 1, f"{source.name}: __row counts from 1"


def check_columns(source: Source, folder: Path) -> None:
    """Check that no other column begins with two underscores, which are reserved for vertune."""
    frame = source.read().lazy().collect()
    reserved = [name for name in frame.columns if name.startswith("__") and name not in MARKS]
    assert not reserved, f"{source.name}: {reserved} begin with two underscores"


def check_again(source: Source, folder: Path) -> None:
    """Check that a source rebuilt from its options in the manifest reads the same rows again."""
    first = source.read().lazy().collect()
    again = build(type(source), {key: value for key, value in json.loads(json.dumps(dump(source))).items() if key != "name"})
    assert again.read().lazy().collect().equals(first, null_equal=True), f"{source.name}: the rows differ when they are read again"


def check_suffixes(source: Source, folder: Path) -> None:
    """Check that suffixes are in lower case and begin with a dot, as paths are compared with them in this form."""
    for suffix in source.suffixes:
        assert suffix == f".{suffix.lower().removeprefix('.')}", f"{source.name}: the ending '{suffix}' must be such as .csv"


def check_fingerprint(source: Source, folder: Path) -> None:
    """Check that the fingerprint, if there is one, depends on the content of every file and not on modification times."""
    first = source.fingerprint()
    if first is None:
        return
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in files:
        os.utime(file, (0, 0))
    assert source.fingerprint() == first, f"{source.name}: the fingerprint changes with the time at which a file was written"
    contents = {file: file.read_bytes() for file in files}
    for file, content in contents.items():
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert source.fingerprint() != first, f"{source.name}: the fingerprint stays the same when a byte of every file changes"
    for file, content in contents.items():
        file.write_bytes(content)
    assert source.fingerprint() == first, f"{source.name}: the fingerprint differs although the content is the same again"


CHECKS: tuple[Callable[[Source, Path], None], ...] = (check_marks, check_columns, check_again, check_suffixes, check_fingerprint)
