"""The types that parts exchange: records, columns, notes, features, answers; independent of tasks and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

Record = Mapping[str, Any]
"""One valid row of input: the values of its task's columns, by column name."""

Answer = dict[str, Any]
"""The prediction of a model for one record; its keys are those of the task's answer schema."""

Role = Literal["input", "target", "extra"]
InputType = Literal["text", "number", "category", "image", "audio", "time", "bytes"]
TargetType = Literal["label", "labels", "number", "spans", "answers"]
ColumnType = InputType | TargetType


class Span(TypedDict):
    """A labelled segment of a text; `start` and `end` (exclusive) count Unicode code points."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a task's records; raises ValueError if the type does not suit the role."""

    name: str
    about: str
    required: bool = True
    """Whether the data must have a column for this field."""
    role: Role = "input"
    """`input` is read by the encoder, `target` is the expected answer, `extra` is neither (such as an id or a group)."""
    type: ColumnType = "text"
    """Type of the values. Inputs: `text`, `number`, `category`, `image`, `audio`, `time`, `bytes`. Targets: `label` (one word),
    `labels` (a list or delimited words), `number`, `spans`, `answers`. An extra may have any of these types."""

    def __post_init__(self) -> None:
        inputs, targets = get_args(InputType), get_args(TargetType)
        allowed = {"input": inputs, "target": targets, "extra": (*inputs, *targets)}
        if self.role not in allowed:
            raise ValueError(f"The column '{self.name}' has the role '{self.role}'. Roles are: {', '.join(allowed)}.")
        if self.type not in allowed[self.role]:
            raise ValueError(
                f"The column '{self.name}' has the role '{self.role}' and the type '{self.type}'. "
                f"Types of this role are: {', '.join(dict.fromkeys(allowed[self.role]))}."
            )


@dataclass(frozen=True, slots=True)
class View:
    """One input of the model that a task requires: the fields of a record to encode together, and how to shorten them."""

    role: str
    fields: tuple[str, ...]
    """Names of the fields, in order. A text encoder accepts one or two; it skips the second if a record lacks it."""
    cut: int | None = None
    """Index of the field to shorten if the fields don't fit; None shortens the longest one."""
    windows: bool = False
    """Whether a long record may be divided into several windows; the task then merges their answers."""
    places: bool = False
    """Whether the answer is a position in the text, which must then not be cut off."""
    types: tuple[InputType, ...] = ()
    """Type of each field, in the order of `fields`; empty if all are text."""


@dataclass(frozen=True, slots=True)
class Places:
    """The field and the characters that each position (token) of a feature covers."""

    segments: NDArray[np.int8]
    """Index, among the fields of the view, of the field that each position covers; -1 for special tokens, which cover none."""
    offsets: NDArray[np.int32]
    """Start and end (exclusive) of each position in its field, in characters, shape (positions, 2); zeros where the segment is -1."""


@dataclass(slots=True)
class Feature:
    """One input of the model; only the encoder that made it reads its payload."""

    record: int
    """Index of its record in the list that was encoded."""
    role: str
    cost: int
    """Cost of a forward pass over it: the number of tokens of a text, or another unit of its encoder."""
    payload: Any
    places: Places | None = None
    """The text that each position covers, if the model returns one state per position; None if it returns one per feature."""
    truncated: int = 0
    """Number of tokens of the record that were cut off, so that none of its features contains them."""
    window: int = 0
    """Index of the window among those of its record and role."""

    @property
    def positions(self) -> int:
        """The number of states that the model returns for this feature."""
        return 1 if self.places is None else len(self.places.segments)


@dataclass(frozen=True, slots=True)
class InputNames:
    """Names of the arrays in a collated batch that have a special role for a backbone."""

    sequence: str | None = None
    """An array of shape (rows, positions), by which arrays with one entry per position are recognised; None without positions."""
    mask: str | None = None
    """The array of the same shape that is 1 for input and 0 for padding."""


@dataclass(slots=True)
class Targets:
    """The values with which the loss compares the model's outputs."""

    values: list[NDArray[Any]]
    """One array per feature: its target, or one target per token."""
    weights: NDArray[np.float32] | None = None
    """Weight of each feature in the loss; None gives all the same weight."""


@dataclass(frozen=True, slots=True)
class Note:
    """A count of the values that one step of data preparation dropped or changed in rows that remain."""

    where: str
    """The name of the task, cleaner or augmenter that dropped or changed the values."""
    what: str
    """What happened, as the end of a sentence that begins with the counts: `spans overlap a longer one and were dropped`."""
    count: int
    """Number of values that were dropped or changed."""
    of: int
    """Number of values that were examined."""
    examples: tuple[Mapping[str, Any], ...] = ()
    """Up to `MAX_EXAMPLES` of the values, each with `file`, `row` (from 1) and `value`, as JSON values."""

    @property
    def sentence(self) -> str:
        """The note as a sentence, such as `tag: 200 of 600 spans overlap a longer one and were dropped.`"""
        return f"{self.where}: {self.count:,} of {self.of:,} {self.what}."

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; `Note(**value)` rebuilds the note."""
        return {**asdict(self), "examples": [dict(example) for example in self.examples]}


MAX_EXAMPLES = 5
"""Maximum number of examples in a note."""


@dataclass(slots=True)
class Cleaned:
    """The result of cleaning a frame: the rows that remain, the rejected rows, and notes on values that were dropped or changed."""

    frame: Any
    """Polars frame of the rows that remain, in the task's own columns and types."""
    rejected: list[dict[str, Any]] = field(default_factory=list)
    """`{"file": …, "row": …, "reason": …, "values": …}` for each rejected row."""
    notes: list[Note] = field(default_factory=list)
    """What was dropped from, or changed in, the rows that remain."""


def texts(records: Sequence[Record], name: str) -> list[str]:
    """Return the text of one field for each record; an absent field gives an empty text."""
    return [str(record.get(name) or "") for record in records]


ROUNDING = 1e-4
"""Largest difference, absolute below 1 and relative above, of two numbers that count as equal: rounding depends on the batch."""


def equal_values(one: Any, other: Any) -> bool:
    """Return whether two values of answers are equal; numbers may differ by `ROUNDING`."""
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(equal_values(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return isinstance(other, (list, tuple)) and len(one) == len(other) and all(map(equal_values, one, other))
    if isinstance(one, float):
        return isinstance(other, (int, float)) and abs(one - other) <= ROUNDING * max(1.0, abs(one))
    return bool(one == other)
