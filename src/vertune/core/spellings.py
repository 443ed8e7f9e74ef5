"""Converts config keys of older versions of vertune to the current keys; independent of what the options mean.

Older keys in the manifest of a model are converted silently. For older keys in a config file, on the command line or in Python
code, a warning with the current key is logged too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from vertune.core.errors import ConfigError

_MOVED = {"optimiser": "training.optimiser", "slices": "evaluate.slices", "tolerance": "compress.tolerance"}
"""Top-level config keys of older versions, each mapped to its current key."""
_CHAIN = "compress.chain"
"""Current key of the list of compressors; in older versions, `compress` itself was this list."""

_log = logging.getLogger("vertune")


def modernise(value: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the config with older keys replaced by the current ones, and a list with a warning for each older key.

    Raises ConfigError if the config contains both the older and the current key of an option.
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
    """Return a setting such as `optimiser.rate=1e-4` with the current key, and a list of warnings: one if the key was an older key."""
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
    """Return the value of an option in a config that this or an older version of vertune wrote; `default` if it is not set.

    `place` is the current key of the option, such as `compress.tolerance`; the option is found under its older key too.
    """
    found: Any = modernise(config)[0]
    for step in place.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return default
        found = found[step]
    return found


def log_notes(notes: Iterable[str]) -> None:
    """Log each of these texts as a warning."""
    for note in notes:
        _log.warning("%s", note)


def _sentence(old: str, new: str) -> str:
    """Return the warning that a key is an older spelling, with the key to use instead."""
    return f"'{old}' is an older spelling that still works. Write '{new}' instead."
