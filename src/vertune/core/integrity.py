"""Detects changed files: records the SHA-256 of the files of a folder, and checks them before they are loaded; independent of content.

A JSON file lists the files of its folder under `files`, as a mapping from relative path to SHA-256, and contains its own SHA-256
under `checksum`. Such a JSON file is the manifest of an artifact, or `served.json` of a model on a shared backbone. JSON files that
older versions wrote have neither entry; the files beside them are loaded without a check.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vertune.core.errors import StorageError
from vertune.core.files import file_hash, json_value

FILES, CHECKSUM = "files", "checksum"
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
"""Name of the file with the signature of the JSON file beside it (core/signing.py)."""
UNLISTED = frozenset({MANIFEST, "events.jsonl", "host.json", "evaluation.json", "README.md", SIGNATURE})
"""Files in the top folder of an artifact that are not listed: they are written later, or contain the list."""
LATER = "verticals"
"""Name of the subfolder that is not listed, because models join a backbone after it is complete; each has a list of its own."""

_Status = tuple[int, int, int, int]
_hashes: dict[str, tuple[_Status, str]] = {}


def cached_hash(path: Path) -> str:
    """Return the SHA-256 of a file; in one process, it is computed again only if the inode, the size or a time of the file changed.

    Raises StorageError if the file can't be read.
    """
    try:
        status = path.stat()
        key = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = _hashes.get(str(path))
        if known is None or known[0] != key:
            known = _hashes[str(path)] = (key, file_hash(path))
    except OSError as error:
        raise StorageError(f"The file {path} can't be read: {error.strerror}. Restore it from a copy of its folder.") from error
    return known[1]


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder by its relative path; hidden files and files that are written later are left out."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return {name: cached_hash(folder / name) for name in names if _is_listed(name)}


def _is_listed(name: str) -> bool:
    parts = name.split("/")
    return name not in UNLISTED and parts[0] != LATER and not any(part.startswith(".") for part in parts)


def checksum(entries: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the entries of a JSON file, except the entry `checksum`; independent of their order."""
    content = {name: value for name, value in entries.items() if name != CHECKSUM}
    plain = json.loads(json.dumps(content, default=json_value))
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a JSON file with their checksum."""
    return {**entries, CHECKSUM: checksum(entries)}


def check_entries(entries: Mapping[str, Any], file: Path, remedy: str) -> None:
    """Raise StorageError if the entries of a JSON file don't have the checksum that was written with them.

    `remedy` ends the message, such as "or train again". Entries that an older version wrote have no checksum and are not checked.
    """
    expected = entries.get(CHECKSUM)
    if expected is not None and checksum(entries) != expected:
        raise StorageError(
            f"The content of {file} has changed since vertune wrote it: expected SHA-256 {str(expected)[:12]}…, "
            f"found {checksum(entries)[:12]}…. "
            f"Restore the file from a copy, {remedy}."
        )


def check_files(folder: Path, entries: Mapping[str, Any], names: Iterable[str], remedy: str) -> None:
    """Raise StorageError if one of these files of a folder is missing, changed, or not listed.

    `entries` are those of the JSON file that lists the files; an older version wrote no list, and then nothing is checked. `names`
    are paths relative to the folder. `remedy` ends the message, such as "or train again".
    """
    listed = entries.get(FILES)
    if listed is None:
        return
    for name in names:
        expected = listed.get(name)
        if expected is None:
            raise StorageError(
                f"The file {folder / name} is not listed among the files of its folder; expected only files that vertune wrote. "
                f"Remove the file, {remedy}."
            )
        if not (folder / name).is_file():
            raise StorageError(f"The file {folder / name} is missing. Restore it from a copy of the folder, {remedy}.")
        found = cached_hash(folder / name)
        if found != expected:
            raise StorageError(
                f"The file {folder / name} has changed since vertune wrote it: expected SHA-256 {expected[:12]}…, found {found[:12]}…. "
                f"Restore it from a copy, {remedy}."
            )


def check_subfolder(folder: Path, entries: Mapping[str, Any], name: str, remedy: str) -> None:
    """Check all files of a subfolder, those that are listed and those that exist; else like `check_files`."""
    present = {path.relative_to(folder).as_posix() for path in (folder / name).rglob("*") if path.is_file()}
    listed = {one for one in entries.get(FILES) or () if one.startswith(f"{name}/")}
    check_files(folder, entries, sorted(listed | {one for one in present if _is_listed(one)}), remedy)
