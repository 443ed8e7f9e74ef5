"""The options that several commands share; knows nothing of any command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The config of the vertical; `vertune init DATA` writes one.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A vertical's name, an alias (name@live), a model's id, or its folder.")]
Home = Annotated[
    Path | None, typer.Option("--home", envvar="VERTUNE_HOME", help="The folder that holds all artifacts.", show_default=".vertune")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the config, such as method.rank=16; repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Split = Annotated[str, typer.Option("--split", help="Which split of the model's dataset to answer: train, validation or test.")]
