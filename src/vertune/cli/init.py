"""`vertune init`: guesses the task and columns of a data file, and writes a commented config, run.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import output

PANEL = ("From a file to a model", 1)


def run(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A file or folder with labelled records.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The config file to write.")] = Path("run.yaml"),
    text: Annotated[
        list[str] | None, typer.Option("--text", help="The column of the text, if the guess is wrong; give it twice for two texts.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="The column of the label, if the guess is wrong.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="The task, if the guess is wrong; `vertune parts tasks` lists them.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing config.")] = False,
) -> None:
    """Write a commented config, run.yaml, for a data file."""
    from vertune.core.errors import Conflict
    from vertune.core.files import write_text
    from vertune.steps.init import guess_as_yaml, init

    if data.exists() and out.exists() and not force:
        raise Conflict(f"{out} exists already. Name another file with --out, or overwrite it with --force.")
    guess = init(data, text or [], label, task)
    write_text(out.absolute(), guess_as_yaml(guess, data, out.absolute().parent))
    output.facts(
        {
            "rows": guess.rows,
            "task": guess.task,
            **{field: f"{' + '.join(columns)}  ({guess.reasons[field]})" for field, columns in guess.fields.items()},
            **{split: path for split, path in (("validation", guess.validation), ("test", guess.test)) if path},
            "config": output.relative(out),
        }
    )
    output.note(f"Check {output.relative(out)} and correct wrong guesses.")
    output.next_steps(f"vertune fit {output.relative(out)}")
