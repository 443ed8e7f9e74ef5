"""`vertune init`: looks at a file, asks nothing, writes a commented run.yaml; knows nothing of how the guess is made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import output


def run(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A file or folder with labelled records.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the config goes.")] = Path("run.yaml"),
    text: Annotated[
        list[str] | None, typer.Option("--text", help="The column of the text, where the guess would be wrong; twice for two.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="The column of the label, where the guess would be wrong.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="The task, where the guess would be wrong; `vertune parts tasks` lists them.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a config that is there.")] = False,
) -> None:
    """Look at a file and write a commented run.yaml for it."""
    from vertune.core.errors import Conflict
    from vertune.core.files import write_text
    from vertune.steps.init import guess_as_yaml, init

    if data.exists() and out.exists() and not force:
        raise Conflict(f"{out} is there already. Name another with --out, or write over it with --force.")
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
    output.note(f"Look at {output.relative(out)} and correct what was guessed wrong.")
    output.next_steps(f"vertune fit {output.relative(out)}")
