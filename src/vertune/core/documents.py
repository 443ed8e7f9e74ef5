"""Parses JSON that users wrote, and divides texts into lines; independent of their content."""

from __future__ import annotations

import io
import json
from typing import Any


def lines(text: str) -> list[str]:
    """Divide a text at its line ends, which are removed: line feeds, carriage returns, and both together.

    `str.splitlines` must not be used for content: it also divides at form feeds, U+0085, U+2028 and other characters, which are part of
    the lines that editors, JSON and other software see.
    """
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def parse_json(text: str) -> Any:
    """Parse JSON; raise ValueError for every text that can't be parsed, also for one that is nested too deeply for the parser."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it has too many lists or objects inside each other") from error
