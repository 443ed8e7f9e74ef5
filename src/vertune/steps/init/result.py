"""What `vertune init` guesses about a data file; independent of how it is guessed and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vertune.core.language import Language
from vertune.core.profile import ColumnProfile


@dataclass(slots=True)
class DatasetGuess:
    """What was guessed about a table: its task, the columns that the task reads, the reasons, and examples."""

    rows: int
    task: str
    """Name of the task."""
    fields: dict[str, list[str]]
    """The columns that each field of the task is read from."""
    reasons: dict[str, str]
    """The reason for the columns of each field, by the field's name, and for the task, by `task`."""
    columns: tuple[ColumnProfile, ...]
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the task that differ from its defaults."""
    encoder: str | None = None
    """Name of the encoder that reads the inputs, if they are not texts; None for texts."""
    language: Language | None = None
    """The language of the input texts; None if the inputs are not texts."""
    source: dict[str, Any] = field(default_factory=dict)
    """The config of the source of the training rows; empty for a frame."""
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The configs of the sources of `validation` and `test` rows, if there are such files."""
    split: str | None = None
    """Name of a column with the split of each row; None if there is none."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what was found in the file, such as the sheet that is read."""
    warnings: list[str] = field(default_factory=list)
    """Sentences about what is probably wrong, such as rows that can't be read."""
    alternatives: list[str] = field(default_factory=list)
    """Sentences about other tasks and columns that were considered, and about columns that are not read."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """Up to three records as the model would read them: `file`, `row`, `input` and `target`."""
