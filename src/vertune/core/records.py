"""The types that parts exchange: records, columns, notes, features, answers; knows nothing of tasks or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

Record = Mapping[str, Any]
"""One row of input: the values of its task's columns by name, mapped and checked."""

Answer = dict[str, Any]
"""The output of a model for one record; its keys are those of the task's answer schema."""

Role = Literal["input", "target", "extra"]
InputType = Literal["text", "number", "category", "image", "audio", "time", "bytes"]
TargetType = Literal["label", "labels", "number", "spans", "answers"]
ColumnType = InputType | TargetType


class Span(TypedDict):
    """A stretch of a text in Unicode code points, end exclusive."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a task's records; ValueError where the type does not suit the role."""

    name: str
    about: str
    required: bool = True
    """Whether the data must have this field."""
    role: Role = "input"
    """`input` is read by the encoder, `target` is the expected answer, `extra` is neither (an id, a group)."""
    type: ColumnType = "text"
    """Inputs: `text`, `number`, `category`, `image`, `audio`, `time`, `bytes`. Targets: `label` (one word), `labels` (a list or
    delimited words), `number`, `spans`, `answers`. An extra may have any of them."""

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
    """What a task asks an encoder for: one input of the model, made of these fields of a record."""

    role: str
    fields: tuple[str, ...]
    """Names of fields, in order; a text encoder reads one or two, and leaves out a second one that a record lacks."""
    cut: int | None = None
    """Which of the fields is shortened when they don't fit; None shortens the longest one."""
    windows: bool = False
    """Whether the task can merge several windows of one record."""
    places: bool = False
    """Whether the answer is a place in the text, so that text which is cut off can't be answered."""
    types: tuple[InputType, ...] = ()
    """Type of each field, in the order of `fields`; empty where all are text."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where in a view each position of a feature comes from."""

    segments: NDArray[np.int8]
    """Index of the field of the view that each position covers; -1 for positions that cover none, such as special tokens."""
    offsets: NDArray[np.int32]
    """First and end character of each position in its field, shape (positions, 2); zeros where the segment is -1."""


@dataclass(slots=True)
class Feature:
    """One input of the model; its payload belongs to the encoder that made it, and nobody else reads it."""

    record: int
    """Index of its record in the list that was encoded."""
    role: str
    cost: int
    """Cost of a forward pass over it, in tokens of a text or a unit of its encoder."""
    payload: Any
    places: Places | None = None
    """Of an encoder whose model gives one state a position; None where there is one state a feature."""
    truncated: int = 0
    """How many tokens of the record no feature of it holds."""
    window: int = 0

    @property
    def positions(self) -> int:
        """How many states the model gives for it."""
        return 1 if self.places is None else len(self.places.segments)


@dataclass(frozen=True, slots=True)
class InputNames:
    """Names of the collated arrays that have a role of their own in a backbone."""

    sequence: str | None = None
    """The array of shape (rows, positions) whose shape every array with an entry a position shares; None without positions."""
    mask: str | None = None
    """The array of that shape which is 1 where a position is part of the input and 0 where it is padding."""


@dataclass(slots=True)
class Targets:
    """What the loss compares outputs with: one entry a feature, or one a token of it."""

    values: list[NDArray[Any]]
    weights: NDArray[np.float32] | None = None
    """Weight of each feature in the loss; None weighs all the same."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a link of the data chain dropped or changed, while the row itself stayed."""

    where: str
    """The link: the name of the task, cleaner or augmenter."""
    what: str
    """What happened, as the rest of a sentence that begins with the counts: `spans overlap a longer one and were dropped`."""
    count: int
    """How many values it happened to."""
    of: int
    """How many values were looked at."""
    examples: tuple[Mapping[str, Any], ...] = ()
    """Up to `MAX_EXAMPLES` of them, each with `file`, `row` (from 1) and `value`, as JSON can hold them."""

    @property
    def sentence(self) -> str:
        """The note in one sentence: `tag: 200 of 600 spans overlap a longer one and were dropped.`"""
        return f"{self.where}: {self.count:,} of {self.of:,} {self.what}."

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `Note(**value)` reads them back."""
        return {**asdict(self), "examples": [dict(example) for example in self.examples]}


MAX_EXAMPLES = 5
"""Examples that a note holds at most."""


@dataclass(slots=True)
class Cleaned:
    """The result of checking a frame: the rows that stay, those that were rejected, and notes on what was changed in the rest."""

    frame: Any
    """Polars frame of the good rows, in the task's own columns and types."""
    rejected: list[dict[str, Any]] = field(default_factory=list)
    """`{"file": …, "row": …, "reason": …, "values": …}` for each rejected row."""
    notes: list[Note] = field(default_factory=list)
    """What was dropped from, or changed in, the rows that stay."""


def texts(records: Sequence[Record], name: str) -> list[str]:
    """One field of all records, an absent one as the empty text."""
    return [str(record.get(name) or "") for record in records]


ROUNDING = 1e-4
"""Difference up to which two numbers of answers are the same, absolute below 1 and relative above: batches round otherwise."""


def equal_values(one: Any, other: Any) -> bool:
    """Whether two values of answers are equal, numbers within `ROUNDING`."""
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(equal_values(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return isinstance(other, (list, tuple)) and len(one) == len(other) and all(map(equal_values, one, other))
    if isinstance(one, float):
        return isinstance(other, (int, float)) and abs(one - other) <= ROUNDING * max(1.0, abs(one))
    return bool(one == other)
