"""What a config can choose from: the kinds of parts, and what each part is and takes; does not depend on what parts do.

The list of kinds is read by the help of the command line, so pydantic is imported only with the parts.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from vertune.core.errors import NotFound

KINDS = {
    "sources": "data.source",
    "cleaners": "data.clean",
    "masks": "data.clean: [{name: mask, masks: …}]",
    "splits": "data.split",
    "augmenters": "data.augment",
    "encoders": "encoder",
    "tasks": "task",
    "methods": "method",
    "compressors": "compress.chain",
    "exports": "",
    "queries": "",
    "formats": "",
    "monitors": "watch.monitors",
    "channels": "watch.channels",
    "apps": "",
}
"""Maps each kind of part (pluggable component) to the config key that chooses it; empty for a kind that no config chooses."""


def listed(folder: str) -> list[tuple[str, str]]:
    """Return the name of each component of a kind, such as `methods`, with the first line of its help text."""
    from vertune.core import part

    return [(name, part.about(folder, name)) for name in part.names(folder)]


def described(folder: str, name: str) -> tuple[str, dict[str, Any]]:
    """Return the help text of a component, and the JSON schema of its options; raise NotFound if there is none of this name."""
    from vertune.core import part

    if folder not in KINDS or name not in part.names(folder):
        known = ", ".join(part.names(folder)) if folder in KINDS else ", ".join(KINDS)
        raise NotFound(f"There is no component '{folder[:40]}/{name[:80]}'. Choose one of: {known}.")
    found = part.find(folder, name)
    return inspect.getdoc(importlib.import_module(found.__module__)) or "", found.model_json_schema()
