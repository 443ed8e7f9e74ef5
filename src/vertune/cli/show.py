"""`vertune show`: prints the manifest (the description in manifest.json) of a dataset, model, report or run."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Look around", 3)

_HIDDEN = ("asked", "format")
"""Manifest entries that only --json prints: the config before its `auto` values were resolved, and the format version."""


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An id, a name, an alias (name@live), or a folder.")],
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show the manifest of a dataset, model, report or run.

    The manifest is a file that describes how this dataset, model, report or run was made: the config, the metrics, the
    versions of packages and the like.
    """
    import yaml

    from vertune.core.artifact import Home
    from vertune.core.files import folder_size
    from vertune.steps.remove import find

    artifact = find(Home(home), name)
    manifest = artifact.manifest
    if json:
        output.as_json(manifest)
        return
    shown = {key: value for key, value in manifest.items() if value not in (None, [], {}) and key not in _HIDDEN}
    location = {"folder": output.relative(artifact.folder), "size": output.size(folder_size(artifact.folder))}
    output.facts({**location, **{key: value for key, value in shown.items() if not isinstance(value, (dict, list))}})
    for key, value in shown.items():
        if isinstance(value, (dict, list)):
            output.say()
            output.say(key, "bold")
            output.say(yaml.safe_dump(value, allow_unicode=True, sort_keys=False, default_flow_style=None, width=110).rstrip())
