"""`vertune greet`: greets; knows nothing of models."""

from __future__ import annotations

from vertune.cli import output

PANEL = ("Look around", 9)


def run(name: str) -> None:
    """Greet somebody by name."""
    output.say(f"Hello, {name}.")
