"""The base class of formats, which write labelled records for other software, and the labelled records that they write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from vertune.core.errors import ConfigError
from vertune.core.part import Part
from vertune.core.records import Record, TargetType

if TYPE_CHECKING:
    from vertune.core.task import Task


@dataclass(frozen=True, slots=True)
class Labelled:
    """A record with the label that an annotator gave it, or on which a reviewer decided."""

    record: Record
    """The values of the input fields and of further fields of the task."""
    target: Mapping[str, Any]
    """The values of the target fields."""
    number: int | None = None
    """The number of the record in its project; labels of several annotators on the same record have the same number."""
    annotator: str | None = None
    at: str | None = None
    """When the label was given, in the form of ISO 8601."""
    seconds: float | None = None
    """How long the annotator took."""
    decision: bool = False
    """Whether a reviewer decided that this is the right label."""


class Format(Part):
    """A component that writes labelled records in the form of other software."""

    folder: ClassVar[str] = "formats"
    media_type: ClassVar[str] = "application/octet-stream"
    """The media type of the file in HTTP."""
    suffix: ClassVar[str] = ""
    """The ending of the file, such as `.jsonl`."""
    targets: ClassVar[frozenset[TargetType]] = frozenset(get_args(TargetType))
    """Types of target fields that this format can express."""
    texts_only: ClassVar[bool] = False
    """Whether every input must be a text."""
    single_text: ClassVar[bool] = False
    """Whether a record must have one input alone, which is a text."""

    def refusal(self, task: Task) -> str | None:
        """Return the reason why records of this task can't be written, as the end of a sentence; None if they can."""
        inputs = task.input_columns
        target = next((column for column in task.target_columns if column.type not in self.targets), None)
        if not task.target_columns:
            return "its records have no labels"
        if target is not None:
            return f"it can't express a field of the type '{target.type}'"
        if (self.texts_only or self.single_text) and any(column.type != "text" for column in inputs):
            return "it can't express an input that is no text"
        if self.single_text and sum(column.required for column in inputs) != 1:
            return f"it expresses one text, but a record has {len(inputs)}"
        return None

    def check(self, task: Task) -> None:
        """Raise ConfigError if records of this task can't be written in this format."""
        reason = self.refusal(task)
        if reason is not None:
            raise ConfigError(
                f"The format '{self.name}' can't be written for the task '{task.name}', because {reason}. "
                "Choose another format, such as jsonl, which expresses every task."
            )

    def columns(self, task: Task) -> dict[str, str]:
        """Return the column from which each field of the task is read again, as in `data.fields` of a config, by the name of the field.

        A source finds these columns in the file that `write` wrote.
        """
        return {column.name: column.name for column in task.columns}

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield the pieces of a file with these labelled records.

        Raises ConfigError if records of this task can't be written in this format, and DataError for a record that can't; both before
        the first piece, so that no file ends early.
        """
        raise NotImplementedError
