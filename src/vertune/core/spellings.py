"""Older spellings of a config and what to write now; knows nothing of what the options mean.

Configs in manifests of older versions are read silently. What a person writes, in a file, on the command line or in Python, is
read too, and the log says once how it is written now.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from vertune.core.errors import ConfigError

_MOVED = {"optimiser": "training.optimiser", "slices": "evaluate.slices", "tolerance": "compress.tolerance"}
"""Top-level keys of older versions, and their place now."""
_CHAIN = "compress.chain"
"""Where the list that `compress` was in older versions is now."""

_log = logging.getLogger("vertune")


def modernise(value: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The config in today's spelling, and a sentence for each older spelling in it.

    Raises ConfigError where an option is given in its old place and in its new one.
    """
    result, notes = dict(value), []
    if isinstance(result.get("compress"), list):
        result["compress"] = {"chain": result["compress"]}
        notes.append(_sentence("compress: [...]", f"{_CHAIN}: [...]"))
    for old, new in _MOVED.items():
        if old not in result:
            continue
        section, option = new.split(".")
        inner = result.get(section) or {}
        if not isinstance(inner, Mapping) or option in inner:
            raise ConfigError(f"The config has both '{old}' and '{new}'. '{old}' is the older spelling of '{new}': remove it.")
        result[section] = {**inner, option: result.pop(old)}
        notes.append(_sentence(old, new))
    return result, notes


def modernise_setting(setting: str) -> tuple[str, list[str]]:
    """A setting such as `optimiser.rate=1e-4` in today's spelling, and a sentence where that differs."""
    key, equals, text = setting.partition("=")
    first, dot, rest = key.partition(".")
    if first in _MOVED:
        new = _MOVED[first] + dot + rest
    elif key == "compress" and text.lstrip().startswith("["):
        new = _CHAIN
    else:
        return setting, []
    return f"{new}{equals}{text}", [_sentence(f"--set {key}=…", f"--set {new}=…")]


def moved_value(config: Mapping[str, Any], place: str, default: Any) -> Any:
    """The value at a place such as `compress.tolerance` of a config as any version wrote it into a manifest."""
    found: Any = modernise(config)[0]
    for step in place.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return default
        found = found[step]
    return found


def log_notes(notes: Iterable[str]) -> None:
    """Write each sentence to the log."""
    for note in notes:
        _log.warning("%s", note)


def _sentence(old: str, new: str) -> str:
    return f"'{old}' is an older spelling that still works. Write '{new}' now."
