"""Writes what was guessed about a data file as a commented config, run.yaml, which `vertune fit` reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vertune.core import base as bases
from vertune.core.config import source_of
from vertune.core.errors import ConfigError
from vertune.core.names import as_name
from vertune.core.profile import ColumnProfile
from vertune.steps.init.result import DatasetGuess

_GENERAL = frozenset({"train", "training", "data", "dataset", "all", "训练集", "训练", "数据", "数据集"})
"""Names of files that say nothing about their content."""
_SPLITS = ("validation", "test")
_LONGEST_COMMENT = 160


def guess_as_yaml(guess: DatasetGuess, path: Path, folder: Path) -> str:
    """Format a guess as a commented YAML config for `vertune fit`; paths in it are relative to `folder`, the config's folder."""
    lines = [
        f"# Written by `vertune init` from {comment(path.name)}: {guess.rows:,} rows, columns {_columns(guess.columns)}.",
        "# Every line can be changed; `vertune parts` lists the choices.",
        f"name: {scalar(name_of(path))}",
        "",
        "data:",
        f"  source: {_source(guess.source, folder)}",
        *(f"  {split}: {_source(guess.others[split], folder)}  # found beside the source" for split in _SPLITS if split in guess.others),
        "  fields:  # field of the task: column of the file",
    ]
    for name, columns in guess.fields.items():
        lines.append(f"    {scalar(name)}: {_value(columns[0] if len(columns) == 1 else columns)}  # {comment(guess.reasons[name])}")
    lines += [f"    # {comment(note)}" for note in (*guess.notes, *guess.alternatives)]
    lines += _split_lines(guess)
    options = {"name": guess.task, **guess.options}
    lines += [
        "",
        f"task: {_value(options if guess.options else guess.task)}  # {comment(guess.reasons['task'])}",
        f"encoder: {_value(guess.encoder)}  # reads numbers and categories" if guess.encoder else _base_line(guess),
        "method: auto  # trains as many layers as fit into 300 seconds (training.time_limit); or full, lora, head …",
        "",
    ]
    return "\n".join(lines)


def _base_line(guess: DatasetGuess) -> str:
    """Return the line of the config that names the pretrained model, with the language of the texts as the reason."""
    if guess.language is None:
        return "base: auto  # the pretrained model suits the language of the texts; or an alias, an id of the Hugging Face hub, a folder"
    base = bases.for_language(guess.language)
    known = sorted(bases.LANGUAGES.get(base, ["about 100 languages"]))
    knows = f"knows {' and '.join(known)}{' only' if base in bases.LANGUAGES else ''}"
    return f"base: {base}  # {comment(f'it {knows}; the texts are: {guess.language.sentence}')}; or an id of the Hugging Face hub, a folder"


def name_of(path: Path) -> str:
    """Make a model name from the name of a file, or from its folder's name if the file has a general name such as train or data.

    Letters of any script are kept.
    """
    stem = path.stem if path.suffix else path.name
    if (stem.lower() in _GENERAL or stem in {"*", ""}) and path.absolute().parent.name:
        stem = path.absolute().parent.name
    return as_name(stem)


def scalar(value: str) -> str:
    """Format a text as a YAML scalar on one line; it is put in quotes if YAML would otherwise read it as another value."""
    try:
        plain = yaml.safe_load(f"a: {value}  # b") == {"a": value} and yaml.safe_load(f"[{value}, b]") == [value, "b"]
        plain = plain and yaml.safe_load(f"{value}: b") == {value: "b"}
    except (yaml.YAMLError, TypeError):
        plain = False
    return value if plain else yaml.dump(value, default_style='"', allow_unicode=True, width=1 << 30).strip()


def comment(text: str) -> str:
    """Format a text for a comment: on one line, without characters that are not printed, and not too long."""
    flat = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return flat if len(flat) <= _LONGEST_COMMENT else flat[: _LONGEST_COMMENT - 1] + "…"


def _columns(columns: tuple[ColumnProfile, ...]) -> str:
    """List the names of columns for a comment."""
    return comment(", ".join(column.name for column in columns))


def _value(value: Any) -> str:
    """Format a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(key))}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return scalar(value) if isinstance(value, str) else yaml.safe_dump(value).split("\n")[0]


def _source(source: Mapping[str, Any], folder: Path) -> str:
    """Format the config of a source: only its path if the source and its options follow from the path."""
    path = Path(str(source["path"]))
    written = {**source, "path": _relative(path, folder)}
    try:
        follows = source_of(str(path)) == dict(source)
    except ConfigError:
        follows = False
    return _value(written["path"] if follows and not _is_part_name(written["path"]) else written)


def _is_part_name(path: str) -> bool:
    """Return whether a path could be read as the name of a source, because it is a plain word."""
    return re.fullmatch(r"[a-z_]+", path) is not None


def _split_lines(guess: DatasetGuess) -> Iterator[str]:
    """Yield the lines of the config that choose how rows are split; none if there is a file of test rows."""
    if guess.split:
        yield f"  split: {{name: given, by: {scalar(guess.split)}}}  # this column names the split of each row"
    elif "test" not in guess.others:
        yield "  split: stratified  # each split has the same share of every label; or group, time, given"


def _relative(path: Path, folder: Path) -> str:
    """Return the path relative to the folder if it is inside the folder's parent, else the absolute path."""
    absolute = path.absolute()
    return os.path.relpath(absolute, folder) if absolute.is_relative_to(folder.parent) else str(absolute)
