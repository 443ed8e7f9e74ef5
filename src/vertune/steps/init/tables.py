"""Finds the files with training, validation and test rows that belong together, from their names and folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vertune.core import part
from vertune.core.config import dump, source_of
from vertune.core.errors import ConfigError, DataError
from vertune.core.kinds import Source
from vertune.core.parse import build
from vertune.core.profile import SPLIT_WORDS

_SPLIT_OF = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_WORD = re.compile(f"(?<![a-z])({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)
_NO_DATA = re.compile(r"(readme|licen[cs]e|provenance|changelog|requirements|notice|\.|_)", re.IGNORECASE)
_NO_DATA_ENDINGS = (".md", ".py", ".yaml", ".yml", ".html", ".pdf", ".ipynb", ".toml", ".log", ".sh", ".gitignore")

_CONFIG = re.compile(rb'^\s*\{(?s:.*)"data"\s*:\s*\{\s*"(source|fields|split)"')
_HEAD = 1 << 14


@dataclass(slots=True)
class Tables:
    """The files or folders with the rows of each split, and sentences about how they were found."""

    paths: dict[str, Path]
    """Maps the name of a split (train, validation, test) to its file or folder; always contains train."""
    notes: list[str] = field(default_factory=list)


def find_tables(path: Path) -> Tables:
    """Return the training file of a path, and the files of the other splits.

    For a file these are in the same folder, such as `test.csv` beside `train.csv`. A folder may contain one file per split, one file,
    several files of one format, or a folder per label, which are then read together. Raises DataError for a folder without data.
    """
    if path.is_file():
        return Tables({"train": path, **_siblings(path)})
    special = [name for name in part.names("sources") if _is_special(name, path)]
    if special:
        return Tables({"train": path})
    entries = sorted(item for item in path.iterdir() if not _NO_DATA.match(item.name) and item.suffix.lower() not in _NO_DATA_ENDINGS)
    by_split = _by_split(entries)
    if "train" in by_split:
        return Tables(by_split, [f"{path} contains a {'folder' if by_split['train'].is_dir() else 'file'} for each split."])
    readable = [item for item in entries if item.is_file() and _is_readable(item)]
    files = [item for item in readable if item.suffix.lower() != ".txt"] or readable  # a text beside a table is about it
    if len(files) == 1:
        return Tables({"train": files[0]})
    if any(item.is_dir() for item in entries):
        return Tables({"train": path})
    if files and len({item.suffix for item in files}) == 1:
        return Tables({"train": path / f"*{files[0].suffix}"}, [f"All {len(files)} files of {path} are read together."])
    names = ", ".join(item.name for item in entries[:10]) or "nothing"
    raise DataError(f"{path} contains {names}, but a data file, or files for train and test, were expected. Name the file of your records.")


def is_data(path: Path) -> bool:
    """Return whether a path leads to data, not to a config: a folder, or a file in a format that a source reads."""
    if path.is_dir():
        return True
    if not path.is_file() or path.suffix.lower() in {".yaml", ".yml"} or not _is_readable(path):
        return False
    with path.open("rb") as file:
        return _CONFIG.search(file.read(_HEAD)) is None  # a config may be written as JSON


def as_source(path: Path, options: Mapping[str, Any]) -> Source:
    """Return the source that reads a file, folder or pattern, with these options."""
    return build(Source, {**source_of(str(path)), **options})


def as_config(chosen: part.Part) -> dict[str, Any]:
    """Return the config of a component, such as a source: its name, and the options that differ from their defaults."""
    values = dump(chosen)
    defaults = {name: info.get_default(call_default_factory=True) for name, info in type(chosen).model_fields.items()}
    return {name: value for name, value in values.items() if name == "name" or name not in defaults or value != defaults[name]}


def _is_special(name: str, path: Path) -> bool:
    """Return whether a source recognises the content of a path as its special format, not one that is general."""
    kind = part.find("sources", name)
    return issubclass(kind, Source) and not kind.general and kind.recognises(path)


def _is_readable(path: Path) -> bool:
    """Return whether there is a source for the content or the ending of a file."""
    try:
        source_of(str(path))
    except ConfigError:
        return False
    return True


def _by_split(entries: Sequence[Path]) -> dict[str, Path]:
    """Return the files or folders whose names say which split they contain; if several say the same, the first."""
    found: dict[str, Path] = {}
    for item in entries:
        word = _WORD.search(item.stem)
        if word is not None and (item.is_dir() or _is_readable(item)):
            found.setdefault(_SPLIT_OF[word[1].lower()], item)
    return {split: found[split] for split in SPLIT_WORDS if split in found}


def _siblings(path: Path) -> dict[str, Path]:
    """Return the files of the other splits beside a training file: their names differ only in the word for the split."""
    word = _WORD.search(path.name)
    if word is None or _SPLIT_OF[word[1].lower()] != "train":
        return {}
    start, end = path.name[: word.start()].lower(), path.name[word.end() :].lower()
    beside = {item.name.lower(): item for item in sorted(path.parent.iterdir()) if item.is_file()}
    return {
        split: next(beside[start + word + end] for word in words if start + word + end in beside)
        for split, words in SPLIT_WORDS.items()
        if split != "train" and any(start + word + end in beside for word in words)
    }
