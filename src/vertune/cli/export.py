"""`vertune export`: writes a model in a format of other software, such as transformers, peft or onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Use a model", 5)


def run(
    model: options.Model,
    form: Annotated[str, typer.Argument(metavar="FORM", help="A format that `vertune parts exports` lists, such as transformers.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder to write to.")],
    home: options.Home = None,
) -> None:
    """Write a model in a format of other software."""
    from vertune.core.artifact import Home
    from vertune.core.files import folder_size
    from vertune.steps.export import export

    written = export(Home(home).get("models", model), form, folder)
    facts = {"form": form, "folder": output.relative(written), "size": output.size(folder_size(written))}
    output.facts({**facts, "check": "its outputs equal the model's"})
    output.note(f"{output.relative(written / 'README.md')} explains how to load it.")
