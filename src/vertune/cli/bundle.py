"""`vertune bundle`: copies a model into one folder, together with the pretrained model that it needs.

The folder can be used on machines without a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Use a model", 6)


def run(
    model: options.Model,
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A new or empty folder to write to.", show_default="./MODEL-bundle")
    ] = None,
    home: options.Home = None,
) -> None:
    """Copy a model and its pretrained base, for offline use.

    The folder contains everything that is needed to use the model on a machine without a network.
    """
    from vertune.core.artifact import Home
    from vertune.core.files import folder_size
    from vertune.steps.bundle import bundle

    artifact = Home(home).get("models", model)
    written = bundle(artifact, folder or Path(f"{artifact.id}-bundle"))
    shown = output.relative(written)
    output.facts({"folder": shown, "size": output.size(folder_size(written)), "check": "its outputs equal the model's"})
    output.next_steps(f'vertune predict ./{shown} "a text"' if not Path(shown).is_absolute() else f'vertune predict {shown} "a text"')
