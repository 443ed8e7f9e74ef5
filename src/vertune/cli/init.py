"""`vertune init`: guesses the task and columns of a data file, and writes a commented config, run.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import output

if TYPE_CHECKING:
    from vertune.steps.init import DatasetGuess

PANEL = ("From a file to a model", 1)
_SHOWN = 110
"""Greatest length of an input in an example, in characters."""


def run(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A file or folder with labelled records.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The config file to write.")] = Path("run.yaml"),
    text: Annotated[
        list[str] | None, typer.Option("--text", help="The column of the text, if the guess is wrong; give it twice for two texts.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="The column of the label, if the guess is wrong.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="The task, if the guess is wrong; `vertune parts tasks` lists them.")] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", help="The sheet of a workbook, if the guess is wrong; * for all sheets.")] = None,
    header: Annotated[
        int | None,
        typer.Option("--header", min=0, help="The row with the names of the columns, if the guess is wrong; 0 if there is none."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing config.")] = False,
) -> None:
    """Write a commented config, run.yaml, for a data file."""
    from vertune.core.errors import Conflict
    from vertune.core.files import write_text
    from vertune.steps.init import guess_as_yaml, init

    if data.exists() and out.exists() and not force:
        raise Conflict(f"{out} exists already. Name another file with --out, or overwrite it with --force.")
    options = {name: value for name, value in (("sheet", sheet), ("header", header)) if value is not None}
    guess = init(data, text or [], label, task, options)
    write_text(out.absolute(), guess_as_yaml(guess, data, out.absolute().parent))
    show(guess, out)
    output.next_steps(f"vertune fit {output.relative(out)}")


def as_config(path: Path) -> Path:
    """Return the path of a config; if it is the path of a data file or folder, guess its config first, and write it to run.yaml.

    Raises Conflict if there is another run.yaml.
    """
    from vertune.core.errors import Conflict
    from vertune.core.files import write_text
    from vertune.steps.init import guess_as_yaml, init, is_data

    if not is_data(path):
        return path
    out = Path("run.yaml")
    guess = init(path)
    text = guess_as_yaml(guess, path, out.absolute().parent)
    if out.exists() and out.read_text(encoding="utf-8") != text:
        raise Conflict(
            f"{path} is data, and {out} exists already, so no config was guessed. Train with the existing one: vertune fit {out}, or guess "
            f"another: vertune init {path} --out other.yaml"
        )
    write_text(out.absolute(), text)
    show(guess, out)
    return out


def show(guess: DatasetGuess, out: Path) -> None:
    """Print what was guessed: the task, the columns, three records as the model reads them, other possibilities, and warnings."""
    from vertune.steps.init.written import comment

    output.facts(
        {
            "rows": guess.rows,
            "task": f"{guess.task}  ({comment(guess.reasons['task'])})",
            **{field: _columns(guess, field) for field in guess.fields},
            **{split: source["path"] for split, source in guess.others.items()},
            "language": guess.language.sentence if guess.language else None,
            "split": guess.split,
            "config": output.relative(out),
        }
    )
    if guess.examples:
        output.say()
        output.say(
            "Three records as the model reads them:" if len(guess.examples) == 3 else "Records as the model reads them:", style="bold"
        )
        for example in guess.examples:
            output.say(f"  {_example(example)}")
        output.say()
    for note in (*guess.notes, *guess.alternatives):
        output.note(comment(note))
    for warning in guess.warnings:
        output.note(f"Warning: {warning}", style="yellow")
    output.note(f"Check {output.relative(out)} and correct wrong guesses: there, or with --task, --text, --label, --sheet and --header.")


def _columns(guess: DatasetGuess, field: str) -> str:
    """Format the columns that a field is read from, with the reason."""
    from vertune.steps.init.written import comment

    columns = guess.fields[field]
    return f"{' + '.join(comment(column) for column in columns)}  ({comment(guess.reasons[field])})"


def _example(example: dict[str, Any]) -> str:
    """Format an example on one line: its input, an arrow, and the expected answer."""
    flat = " ".join(str(example["input"]).split())
    target = " ".join(str(example["target"]).split())
    short = flat if len(flat) <= _SHOWN else flat[: _SHOWN - 1] + "…"
    return f"{short} → {target}" if target else short
