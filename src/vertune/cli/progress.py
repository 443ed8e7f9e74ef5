"""Shows the progress of a step, such as a training: as a progress bar on a terminal, otherwise as occasional lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from vertune.cli import output

if TYPE_CHECKING:
    from rich.console import Console

    from vertune.core.artifact import Progress


class _Display(Protocol):
    """The methods that `Listener` calls to show progress; `_Bar` and `_Lines` have them.

    `_Bar` is for a terminal, `_Lines` for any other output.
    """

    def stage(self, text: str) -> None:
        """Show the name of the current stage."""

    def move(self, done: int, total: int, facts: str, seconds_left: float | None) -> None:
        """Show that `done` of `total` units of the current stage are done, and the estimated time until its end.

        `facts` is a text that is shown beside the progress: what is counted, and further values such as the loss.
        """

    def line(self, text: str, style: str = "dim") -> None:
        """Print a line that later progress does not overwrite."""


class Listener:
    """A callback that receives the progress events of a step, such as a training, and shows them on a display.

    An event of a kind in `_PERMANENT`, or an event `evaluated` with a metric, is printed as a line that is not
    overwritten. Any other event with the fields `step` and `steps` moves the progress bar. The kinds in `_SILENT` are
    not shown. The remaining events are shown as the current stage.
    """

    def __init__(self, display: _Display) -> None:
        self.display = display
        self.metric = ""

    def __call__(self, kind: str, **fields: Any) -> None:
        """Show one event; `kind` is its name, such as `training`, and `fields` are its values."""
        if kind == "evaluated" and "metric" in fields:
            self.metric = f"{fields.get('name', 'metric')} {fields['metric']:.4f}"
            self.display.line(f"  step {fields.get('step', 0):,}: {self.metric}")
        elif kind in _PERMANENT:
            self.display.line(f"  {_sentence(kind, fields)}", _STYLES.get(kind, "dim"))
        elif "step" in fields and "steps" in fields:
            self.display.move(int(fields["step"]), int(fields["steps"]), self._facts(kind, fields), fields.get("seconds_left"))
        elif kind not in _SILENT:
            self.display.stage(_sentence(kind, fields))

    def _facts(self, kind: str, fields: dict[str, Any]) -> str:
        """Return a text with what is done, the loss, the newest metric and the speed, to be shown beside the progress.

        What is done is a count with the name of what is counted, such as `8 of 24 training steps`. Values that are not
        known yet are left out.
        """
        counted = _COUNTED.get(kind, f"steps of {kind.replace('_', ' ')}")
        parts = [
            f"{fields['step']:,} of {fields['steps']:,} {counted}",
            f"loss {fields['loss']:.3f}" if isinstance(fields.get("loss"), float) else "",
            self.metric,
            f"{fields['examples_per_second']:.0f} examples/s" if fields.get("examples_per_second") else "",
        ]
        return "  ".join(part for part in parts if part)


_PERMANENT = frozenset(
    {"warning", "chosen", "resumed", "solved", "uncached", "judged", "left", "memory", "companion", "described", "as_live"}
)
"""Events that are printed as lines that stay on the screen."""
_COUNTED = {
    "step": "training steps",
    "answered": "rows answered",
    "remembered": "texts through the frozen layers",
    "tuning": "numbers of threads measured",
    "comparing": "trainings of candidates compared",
    "sharing": "models added to the shared backbone",
    "calibrating": "texts to choose int8 scales",
    "fitting": "inputs of matrices scaled for int8",
    "searching": "layers tried in float32",
    "states": "texts through the base",
    "simulated": "labels",
    "monitored": "windows compared",
    "indexing": "passages in the index",
    "replayed": "conversations replayed",
}
"""Maps a kind of events with a count to the name of what is counted."""
_STYLES = {"warning": "yellow"}
"""Maps a kind of events to the style of its lines; the others are dim."""
_SILENT = frozenset({"checkpoint", "note"})
"""Events that are not shown."""
_SENTENCES = {
    "read": "reading {split} ({source})",
    "reading": "reading {source}",
    "clean": "{by}: checking {rows:,} rows of {split}",
    "split": "splitting {rows:,} rows",
    "augment": "{by}: adding training rows",
    "describe": "describing the data",
    "described": "descriptions of {labels} labels are training rows too",
    "companion": "words beside the model: outputs times {model:.3g}, scores of words times {words:.3g}",
    "solved": "fitted a linear probe on the frozen encoder in {seconds:.0f} s",
    "memory": "memory: at most about {gigabytes:.1f} GB ({allowed:.1f} GB allowed), {tokens:,} tokens in a pass",
    "training": "training with {method}: {steps:,} steps, {parameters:,} parameters",
    "uncached": "not caching the outputs of the frozen layers: {reason}",
    "slot": "slot {slot}: the model of {vertical}",
    "learning": "learning thresholds from {messages:,} labelled messages",
    "replaying": "replaying {conversations:,} conversations",
    "guarding": "checking {rows:,} new rows before they are learnt",
    "refit": "retraining on all {rows:,} labelled rows",
    "chosen": "chose {method}: {why}",
    "resumed": "resuming at step {step:,} of {steps:,}",
    "saved": "saved",
    "exporting": "exporting to ONNX and comparing outputs on {texts:,} texts",
    "as_live": "compressing the candidate as {live} was: {chain}",
    "compressing": "compressor {number} of {of}: {name}",
    "judged": "{name}: {goal} {metric:.4f}, {verdict}",
    "left": "leaving {count} of {of} layers in float32: {sites}",
    "answering": "answering {rows:,} rows",
    "baselines": "fitting the baselines on {rows:,} rows and answering with them",
    "scoring": "computing metrics and their intervals",
    "measuring": "measuring speed and memory",
    "checking": "behaviour tests: {tests:,}",
    "cross-validating": "cross-validation: training and compressing without part {number} of {of}",
    "warning": "warning: {message}",
}
"""Maps kinds of events to texts with the event's fields; for any other kind, its name and its fields are shown."""


def _sentence(kind: str, fields: dict[str, Any]) -> str:
    """Describe an event in one line of text.

    The line is the text for this kind in `_SENTENCES`, filled with the event's fields. If `_SENTENCES` has no text for
    the kind, or if a field is missing, the line consists of the kind and the fields.
    """
    try:
        return _SENTENCES[kind].format(**fields)
    except (KeyError, ValueError, IndexError):
        facts = ", ".join(f"{key} {output.format_cell(value)}" for key, value in fields.items() if isinstance(value, (str, int, float)))
        return f"{kind.replace('_', ' ')}{': ' if facts else ''}{facts}"


class _Bar:
    """A progress bar on a terminal."""

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

    def move(self, done: int, total: int, facts: str, seconds_left: float | None) -> None:
        remaining = f"  {clock(seconds_left)} left" if seconds_left is not None else ""
        self.progress.update(self.task, completed=done, total=total, facts=facts + remaining)

    def line(self, text: str, style: str = "dim") -> None:
        self.progress.console.print(text, style=style)


class _Lines:
    """Prints progress as lines, for output that is not a terminal, such as a log file.

    The progress within a stage is printed at most every ten seconds; all other lines are printed at once.
    """

    def __init__(self) -> None:
        self.last = time.monotonic()

    def stage(self, text: str) -> None:
        output.note(text)

    def move(self, done: int, total: int, facts: str, seconds_left: float | None) -> None:
        if time.monotonic() - self.last < 10:
            return
        self.last = time.monotonic()
        remaining = f"{clock(seconds_left)} left" if seconds_left is not None else ""
        output.note("  ".join(part for part in (f"  {facts}", remaining) if part))

    def line(self, text: str, style: str = "dim") -> None:
        output.note(text, style)


@contextmanager
def show_progress(title: str, quiet: bool = False) -> Iterator[Progress | None]:
    """Yield a callback that shows the progress events of a step on standard error, during the `with` block.

    On a terminal, it shows a progress bar with the text `title`, otherwise lines. If `quiet` is true, None is yielded,
    and nothing is shown.
    """
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
    """Format a number of seconds as minutes and seconds, such as 2:05, or with hours, such as 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
