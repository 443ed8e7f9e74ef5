"""Finds and hashes the local files that a data source reads; independent of the file format."""

from __future__ import annotations

import difflib
import glob
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from vertune.core import file_formats
from vertune.core.errors import DataError, NoRows, NotFound
from vertune.core.file_formats import BINARY, MARKS
from vertune.core.files import file_hash

_HEAD_BYTES = 1 << 16


def find(path: str) -> list[Path]:
    """Return the file of a path, or the files that match a pattern such as `data/*.csv`, sorted.

    Raises NotFound if there is no such file, DataError for a folder or an empty file.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise DataError(
            f"{file} is a folder, but a file is expected. Name a file, or a pattern such as {file}/*.csv; "
            "to read all files of a folder, use `source: folder`."
        )
    found = [file] if file.exists() else _matching(file)
    if not found:
        beside = [item.name for item in file.parent.iterdir()] if file.parent.is_dir() else []
        near = difflib.get_close_matches(file.name, beside, n=1)
        advice = f"Did you mean '{near[0]}'?" if near else "Check the path."
        raise NotFound(f"There is no file {file}. {advice}")
    for item in found:
        if item.stat().st_size == 0:
            raise NoRows(f"{item} is empty (0 bytes), but rows are expected. Check how the file was written.")
    return found


def _matching(pattern: Path) -> list[Path]:
    """Return the files that match a pattern, sorted; the name of a folder that exists is no pattern, although it may contain `[` or `*`."""
    folder, parts = Path(pattern.anchor), list(pattern.parts[1 if pattern.anchor else 0 :])
    while parts and (folder / parts[0]).is_dir():
        folder /= parts.pop(0)
    rest = str(Path(*parts))
    return [folder / name for name in sorted(glob.glob(rest, root_dir=folder, recursive=True)) if (folder / name).is_file()]  # noqa: PTH207 (Path.glob finds hidden files too)


def head(path: Path) -> bytes:
    """Return the first 64 KiB of a file; empty for a folder, and for a file that can't be read."""
    return file_formats.head(path, _HEAD_BYTES)


def head_lines(path: Path) -> list[str]:
    """Return the first lines of a text file with their ends; empty for a folder or a binary file.

    Bytes that are not UTF-8 or UTF-16 may be decoded wrongly: the lines show the format of a file, not its content.
    """
    start = head(path)
    for mark, encoding in MARKS:
        if start.startswith(mark):
            text = start.decode(encoding, errors="ignore")
            break
    else:
        if start.startswith(tuple(magic for magic, *_ in BINARY)) or start.count(0) > 1:
            return []
        text = start.decode("utf-8", errors="surrogateescape")
    lines = io.StringIO(text, newline="").readlines()
    return lines[:-1] if len(start) == _HEAD_BYTES and len(lines) > 1 else lines


def fingerprint(files: Iterable[Path]) -> str:
    """Return the sha256 hex digest of the paths and contents of files, in the given order; modification times have no effect."""
    return hashlib.sha256("\0".join(f"{file}\0{file_hash(file)}" for file in files).encode()).hexdigest()


def refuse_binary(path: Path, wanted: str) -> bytes:
    """Return the first 64 KiB of a file; raise DataError if the file has a known binary format.

    `wanted` names the format that was expected instead, for the message.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for magic, what, advice in BINARY:
        if head.startswith(magic):
            raise DataError(f"{path} is not a {wanted}: it begins like {what}. Use instead: {advice}.")
    return head
