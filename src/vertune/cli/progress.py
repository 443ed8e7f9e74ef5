"""Draws a step's events: a bar on a terminal, a line now and then elsewhere; knows nothing of what the steps do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from vertune.cli import output

if TYPE_CHECKING:
    from rich.console import Console

    from vertune.core.artifact import Progress


class _Drawing(Protocol):
    def stage(self, text: str) -> None: ...

    def move(self, done: int, total: int, facts: str, left: float | None) -> None: ...

    def line(self, text: str) -> None: ...


class Listener:
    """Turns events into what is drawn.

    `evaluated` adds the metric; what must not be missed stays as a line; any other event with `step` and `steps` moves the
    bar, and one without names the stage that the work is in.
    """

    def __init__(self, drawing: _Drawing) -> None:
        self.drawing = drawing
        self.metric = ""

    def __call__(self, kind: str, **fields: Any) -> None:
        """Take one event."""
        if kind == "evaluated" and "metric" in fields:
            self.metric = f"{fields.get('name', 'metric')} {fields['metric']:.4f}"
            self.drawing.line(f"  step {fields.get('step', 0):,}: {self.metric}")
        elif kind in _LASTING:
            self.drawing.line(f"  {_sentence(kind, fields)}")
        elif "step" in fields and "steps" in fields:
            self.drawing.move(int(fields["step"]), int(fields["steps"]), self._facts(fields), fields.get("seconds_left"))
        elif kind not in _SILENT:
            self.drawing.stage(_sentence(kind, fields))

    def _facts(self, fields: dict[str, Any]) -> str:
        """Loss, the last metric and the speed, as far as they are known."""
        parts = [
            f"loss {fields['loss']:.3f}" if isinstance(fields.get("loss"), float) else "",
            self.metric,
            f"{fields['examples_per_second']:.0f} examples/s" if fields.get("examples_per_second") else "",
        ]
        return "  ".join(part for part in parts if part)


_LASTING = frozenset({"warning", "chosen", "resumed", "solved", "uncached", "judged", "left"})
"""Events that stay on the screen as lines."""
_SILENT = frozenset({"checkpoint", "note"})
_SAID = {
    "read": "reading {split} ({source})",
    "clean": "{by}: checking {rows:,} rows of {split}",
    "split": "dividing {rows:,} rows",
    "augment": "{by}: adding training rows",
    "describe": "describing the data",
    "solved": "the head is solved on frozen states, {seconds:.0f} s",
    "training": "training with {method}: {steps:,} steps, {parameters:,} parameters",
    "uncached": "the states of frozen layers are not remembered: {reason}",
    "refit": "training again with all {rows:,} rows",
    "chosen": "{method} is chosen: {why}",
    "resumed": "going on at step {step:,} of {steps:,}",
    "saved": "saved",
    "exporting": "writing the graph, and comparing it on {texts:,} texts",
    "compressing": "{number} of {of}: {name}",
    "judged": "{name}: {goal} {metric:.4f}, {verdict}",
    "left": "{count} of {of} stay in float32: {sites}",
    "answering": "answering {rows:,} rows",
    "baselines": "answering with the simple baselines",
    "measuring": "measuring",
    "warning": "warning: {message}",
}
"""Events in words; one that is not here shows its name and its plain fields."""


def _sentence(kind: str, fields: dict[str, Any]) -> str:
    """An event in words."""
    try:
        return _SAID[kind].format(**fields)
    except (KeyError, ValueError, IndexError):
        facts = ", ".join(f"{key} {output.plain(value)}" for key, value in fields.items() if isinstance(value, (str, int, float)))
        return f"{kind.replace('_', ' ')}{': ' if facts else ''}{facts}"


class _Bar:
    """A live bar on a terminal."""

    def __init__(self, title: str, console: Console) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}", style="dim"),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task(title, total=None, facts="")

    def stage(self, text: str) -> None:
        self.progress.reset(self.task, description=text, total=None, facts="")

    def move(self, done: int, total: int, facts: str, left: float | None) -> None:
        remaining = f"  {clock(left)} left" if left is not None else ""
        self.progress.update(self.task, completed=done, total=total, facts=facts + remaining)

    def line(self, text: str) -> None:
        self.progress.console.print(text, style="dim")


class _Lines:
    """Lines where there is no terminal, at most one every ten seconds for a bar's moves."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def stage(self, text: str) -> None:
        output.note(text)

    def move(self, done: int, total: int, facts: str, left: float | None) -> None:
        if time.monotonic() - self.last < 10:
            return
        self.last = time.monotonic()
        remaining = f"{clock(left)} left" if left is not None else ""
        output.note("  ".join(part for part in (f"  {done:,} of {total:,}", facts, remaining) if part))

    def line(self, text: str) -> None:
        output.note(text)


@contextmanager
def watching(title: str, quiet: bool = False) -> Iterator[Progress | None]:
    """A listener for a step's events, drawn on standard error while the block runs."""
    console = output.screen(error=True)
    if quiet:
        yield None
    elif console.is_terminal:
        bar = _Bar(title, console)
        with bar.progress:
            yield Listener(bar)
    else:
        yield Listener(_Lines())


def clock(seconds: float) -> str:
    """A duration as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
