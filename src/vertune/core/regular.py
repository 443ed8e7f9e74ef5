"""Checks files below a folder before they are read: regular files, reached without links; independent of their content.

A folder of models may be damaged, or another program may have written into it. A symbolic link could lead to a file outside the folder,
and opening a named pipe would wait for ever.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from vertune.core.errors import StorageError

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"), (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def regular_file(folder: Path, *names: str, limit: int | None = None) -> Path:
    """Return the path of the file with these names below a folder: `regular_file(model, "base", "tokenizer.json")`.

    Raises StorageError if a name contains a separator or is `..`, if the file or a folder on the way to it is a symbolic link, if the
    file is missing, not a regular file, or larger than `limit` bytes. The folder itself is not checked.
    """
    path = _below(folder, names)
    size = _check(path, stat.S_ISREG, "a regular file").st_size
    if limit is not None and size > limit:
        raise StorageError(f"The file {_shown(path)} has {size} bytes; at most {limit} are expected. Restore the original file.")
    return path


def real_folder(folder: Path, *names: str) -> Path:
    """Return the path of the folder with these names below another folder; raise StorageError if it is missing or a symbolic link."""
    path = _below(folder, names)
    _check(path, stat.S_ISDIR, "a folder")
    return path


def check_tree(folder: Path, *names: str) -> None:
    """Check the file or folder with these names below `folder`, and everything in it; do nothing if it does not exist.

    Raises StorageError for the first entry that is neither a regular file nor a folder, such as a symbolic link or a named pipe. Call
    this before a library opens the files by their paths.
    """
    path = _below(folder, names)
    if not is_present(path):
        return
    status = _check(path, lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode), "a regular file or a folder")
    if stat.S_ISREG(status.st_mode):
        return
    for inner, folders, files in os.walk(path, onerror=_raise):
        for name in folders:
            _check(Path(inner, name), stat.S_ISDIR, "a folder")
        for name in files:
            _check(Path(inner, name), stat.S_ISREG, "a regular file")


def is_present(folder: Path, *names: str) -> bool:
    """Return whether something with these names exists below a folder: a file, a folder, or a link, even one that leads to nothing."""
    return os.path.lexists(folder.joinpath(*names))


def _below(folder: Path, names: tuple[str, ...]) -> Path:
    """Join the names to the folder, after checking the names and every folder on the way, without the last name."""
    for name in names:
        if not name or name in {".", ".."} or "/" in name or os.sep in name or "\0" in name:
            raise StorageError(
                f"The name {name[:80]!r} is not the name of a file in {_shown(folder)}. Restore the file that contains this name."
            )
    path = folder
    for name in names[:-1]:
        path = path / name
        _check(path, stat.S_ISDIR, "a folder")
    return path / names[-1] if names else path


def _check(path: Path, accepts: Callable[[int], bool], expected: str) -> os.stat_result:
    try:
        status = path.lstat()
    except OSError as error:
        raise StorageError(f"Can't read {_shown(path)}: {error.strerror or error}. Restore it, for example from a backup.") from error
    if not accepts(status.st_mode):
        found = next((kind for matches, kind in _KINDS if matches(status.st_mode)), "a device")
        raise StorageError(f"{_shown(path)} is {found}; expected {expected}. Replace it by the original.")
    return status


def _raise(error: OSError) -> None:
    raise StorageError(f"Can't read {error.filename!r}: {error.strerror}. Restore it, for example from a backup.") from error


def _shown(path: Path) -> str:
    """Return the path for a message, with escapes for the characters that could change what a terminal or a log shows."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)
