"""`vertune export`: writes a model in the form of other software; knows nothing of those forms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import options, output


def run(
    model: options.Model,
    form: Annotated[str, typer.Argument(metavar="FORM", help="One of `vertune parts exports`, such as transformers or peft.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it goes; the folder must be new or empty.")],
    home: options.Home = None,
) -> None:
    """Write a model for other software, checked there."""
    from vertune.core.artifact import Home
    from vertune.core.files import folder_size
    from vertune.steps.export import export

    written = export(Home(home).get("models", model), form, folder)
    output.facts({"form": form, "folder": output.near(written), "size": output.size(folder_size(written)), "checked": "same outputs"})
    output.note(f"{output.near(written / 'README.md')} says how to load it.")
