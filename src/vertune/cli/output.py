"""How commands write to the terminal: aligned columns on standard output, notes on standard error; knows nothing of any command."""

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
    """A console that never folds a line, so that a path or an id can always be copied whole."""
    from rich.console import Console

    return Console(stderr=error, soft_wrap=True, highlight=False, emoji=False, markup=False)


def say(text: str = "", style: str = "") -> None:
    """One line of result."""
    screen().print(text, style=style)


def note(text: str, style: str = "dim") -> None:
    """One line about the work, kept out of what a pipe carries on."""
    screen(error=True).print(text, style=style)


def then(*commands: str) -> None:
    """What to type next."""
    width = max(map(len, commands))
    for place, command in enumerate(commands):
        note(f"{'Next:' if place == 0 else '  or:'}  {command:<{width}}".rstrip(), style="cyan")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns aligned by what they hold: numbers right, words left; wide characters count as two."""
    from rich.cells import cell_len

    body = [[plain(cell) for cell in row] for row in rows]
    raw = list(zip(*([*map(list, body)] or [[""] * len(header)]), strict=False))
    right = [all(_numeric(cell) for cell in column if cell) for column in raw]
    widths = [max(cell_len(cell) for cell in (name, *column)) for name, column in zip(header, raw, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for cell, width, flush in zip(cells, widths, right, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if flush else cell + space)
        return "  ".join(padded).rstrip()

    say(line(header), style="bold")
    for row in body:
        say(line(row))


def facts(pairs: Mapping[str, Any]) -> None:
    """Names and values in two columns; what is None is left out."""
    shown = {name: plain(value) for name, value in pairs.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        say(f"{name:<{width}}  {value}")


def as_json(value: Any) -> None:
    """One JSON value, as it is."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n")


def plain(value: Any) -> str:
    """A cell: counts with thousands, measures with four digits after the point, lists in words."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return str(value)


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit in {"B", "kB"} else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def near(path: Path) -> str:
    """A path as it is typed from here: relative where it lies below the working folder."""
    try:
        return os.fspath(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(path)


def _numeric(cell: str) -> bool:
    return bool(cell) and not set(cell) - set("0123456789.,+-–% ±[]…skMGB")
