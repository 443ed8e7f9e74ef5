"""Functions with which all commands print to the terminal.

Results go to standard output, in aligned columns. Hints, warnings and progress go to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def screen(error: bool = False) -> Console:
    """Return a Rich console for standard output or, if `error` is true, for standard error.

    It never wraps lines, so that a path or an id can be copied in one piece.
    """
    from rich.console import Console

    return Console(stderr=error, soft_wrap=True, highlight=False, emoji=False, markup=False)


def say(text: str = "", style: str = "") -> None:
    """Print one line of a command's result to standard output."""
    screen().print(text, style=style)


def note(text: str, style: str = "dim") -> None:
    """Print a line to standard error: a hint or a warning that is not part of the command's result.

    It is not printed to standard output, so that it does not get into a file or pipe that receives the result.
    """
    screen(error=True).print(text, style=style)


def next_steps(*commands: str) -> None:
    """Print the commands that the user may want to run next, to standard error."""
    width = max(map(len, commands))
    for number, command in enumerate(commands):
        note(f"{'Next:' if number == 0 else '  or:'}  {command:<{width}}".rstrip(), style="cyan")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; columns that contain only numbers are right-aligned, the others left-aligned.

    Wide characters, such as Chinese ones, are counted as two, because they fill two cells of the terminal.
    """
    from rich.cells import cell_len

    body = [[format_cell(cell) for cell in row] for row in rows]
    columns = list(zip(*([*map(list, body)] or [[""] * len(header)]), strict=False))
    right_aligned = [all(_numeric(cell) for cell in column if cell) for column in columns]
    widths = [max(cell_len(cell) for cell in (name, *column)) for name, column in zip(header, columns, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for cell, width, right in zip(cells, widths, right_aligned, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if right else cell + space)
        return "  ".join(padded).rstrip()

    say(line(header), style="bold")
    for row in body:
        say(line(row))


def facts(pairs: Mapping[str, Any]) -> None:
    """Print names and values in two columns; a name whose value is None is left out."""
    shown = {name: format_cell(value) for name, value in pairs.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        say(f"{name:<{width}}  {value}")


def as_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n")


def format_cell(value: Any) -> str:
    """Format a value for the terminal.

    Integers get thousands separators, floats four decimals; the items of a list are joined by commas.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(format_cell(item) for item in value)
    return str(value)


def size(count: float) -> str:
    """Format a number of bytes in B, kB, MB or GB, such as 1.2 MB; a kB is 1000 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit in {"B", "kB"} else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("The loop returns at the unit GB at the latest, so this line is never run.")


def when(manifest: Mapping[str, Any]) -> str:
    """Return the date and time, in UTC, at which an artifact was finished or, if it is not, begun; `manifest` is its manifest."""
    return str(manifest.get("finished") or manifest.get("created") or "")[:16].replace("T", " ")


def relative(path: Path) -> str:
    """Format a path: relative to the working folder if it is inside this folder, else unchanged."""
    try:
        return os.fspath(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(path)


def _numeric(cell: str) -> bool:
    """Return whether a formatted cell is a number, an interval, a percentage, or a number with a unit."""
    return bool(cell) and not set(cell) - set("0123456789.,+-–% ±[]…skMGB")
