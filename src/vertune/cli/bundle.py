"""`vertune bundle`: a model together with its base, for machines without a network; knows nothing of bases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import options, output


def run(
    model: options.Model,
    folder: Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="Where it goes; ./MODEL-bundle where nothing is said.")] = None,
    home: options.Home = None,
) -> None:
    """Write a model with its base, for use offline."""
    from vertune.core.artifact import Home
    from vertune.core.files import folder_size
    from vertune.steps.bundle import bundle

    artifact = Home(home).get("models", model)
    written = bundle(artifact, folder or Path(f"{artifact.id}-bundle"))
    shown = output.near(written)
    output.facts({"folder": shown, "size": output.size(folder_size(written)), "checked": "same outputs"})
    output.then(f'vertune predict ./{shown} "a text"' if not Path(shown).is_absolute() else f'vertune predict {shown} "a text"')
