"""Types that the components exchange: records, columns, model inputs, answers, notes on data; independent of tasks and models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

Record = Mapping[str, Any]
"""One valid row of data: a mapping from the names of the task's fields to values."""

Answer = dict[str, Any]
"""The prediction of a model for one record: a dict with the keys that the task's answer schema (`Task.answer`) defines."""

Copied = TypeVar("Copied")

Role = Literal["input", "target", "extra"]
InputType = Literal["text", "number", "category", "image", "audio", "time", "bytes"]
TargetType = Literal["label", "labels", "number", "spans", "answers"]
ColumnType = InputType | TargetType
PLACES: frozenset[ColumnType] = frozenset({"spans", "answers"})
"""Types of target fields whose values are places in a text, by their offsets."""
Activation = Literal["softmax", "sigmoid", "identity", "tags"]
"""How a task reads the outputs of a model: as logits of classes, as a logit for each label, as a number, or as logits of the BIO tags of
each word."""


def copied(answers: Copied) -> Copied:
    """Return a copy of answers, or of a part of one, that may be changed.

    Answers are made of dicts, lists and values that never change. `copy.deepcopy` doesn't know that, and takes four times as long.
    """
    if isinstance(answers, dict):
        return cast(Copied, {key: copied(value) for key, value in answers.items()})
    if isinstance(answers, list):
        return cast(Copied, [value if value.__class__ is float else copied(value) for value in answers])
    return answers


class Span(TypedDict):
    """A labelled part of a text, from `start` to `end` (exclusive), which are offsets in Unicode code points."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """Definition of one field of a task's records: its name, its role (input, target or extra) and the type of its values.

    Raises ValueError if the role does not allow the type; for example, an input can't have the type `spans`.
    """

    name: str
    about: str
    required: bool = True
    """Whether the data must have a column for this field; if not, the column may be absent."""
    role: Role = "input"
    """`input`: the model reads it. `target`: the expected answer. `extra`: neither, such as an id or a group."""
    type: ColumnType = "text"
    """Type of the values. Inputs: `text`, `number`, `category`, `image`, `audio`, `time`, `bytes`. Targets: `label` (one word),
    `labels` (a list or delimited words), `number`, `spans`, `answers`. An extra may have any of these types."""

    def __post_init__(self) -> None:
        inputs, targets = get_args(InputType), get_args(TargetType)
        allowed = {"input": inputs, "target": targets, "extra": (*inputs, *targets)}
        if self.role not in allowed:
            raise ValueError(f"The column '{self.name}' has the unknown role '{self.role}'. Choose from: {', '.join(allowed)}.")
        if self.type not in allowed[self.role]:
            raise ValueError(
                f"The column '{self.name}' has the type '{self.type}', which the role '{self.role}' does not allow. "
                f"Choose from: {', '.join(dict.fromkeys(allowed[self.role]))}."
            )


@dataclass(frozen=True, slots=True)
class View:
    """Definition of one input of the model: which fields of a record it contains, and how these are shortened if the input is too long."""

    role: str
    """Name of this input within the task, such as `query` or `document`."""
    fields: tuple[str, ...]
    """Names of the fields, in order. A text encoder accepts one or two; it omits the second if a record has no value for it."""
    cut: int | None = None
    """Index, in `fields`, of the field to shorten if the input is too long; None shortens the longest field."""
    windows: bool = False
    """Whether a long text may be divided into several overlapping inputs (windows), whose outputs the task merges into one answer."""
    places: bool = False
    """Whether the answer contains positions in the text, so that the encoder must return the offsets of each token (`Places`)."""
    types: tuple[InputType, ...] = ()
    """Type of each field, in the order of `fields`; empty if all are text."""


@dataclass(frozen=True, slots=True)
class Places:
    """For each token of a feature (model input): which field it comes from, and which characters of that field it covers."""

    segments: NDArray[np.int8]
    """For each token, the index in `View.fields` of the field that it comes from; -1 for special tokens, which come from none."""
    offsets: NDArray[np.int32]
    """For each token, its start and end (exclusive) in the field's text, in characters, shape (tokens, 2); 0 and 0 for special tokens."""


@dataclass(slots=True)
class Feature:
    """One input of the model, made from a record; only the encoder that made it reads its `payload`."""

    record: int
    """Index, in the list that was encoded, of the record that this input was made from."""
    role: str
    """The `role` of the view (input definition) that it was made for."""
    cost: int
    """Size of this input, by which batches are limited: the number of tokens of a text; other encoders define their own measure."""
    payload: Any
    """The encoded values, such as token ids."""
    places: Places | None = None
    """For each token, the characters that it covers; None if the input does not consist of tokens."""
    truncated: int = 0
    """Number of tokens of the record that were cut off because the text was too long; no other feature contains them."""
    window: int = 0
    """Index of this piece if a long text was divided into several features (windows), counted per record and role; else 0."""

    @property
    def positions(self) -> int:
        """The number of tokens of this feature, for models that return one vector per token; 1 if `places` is None."""
        return 1 if self.places is None else len(self.places.segments)


@dataclass(frozen=True, slots=True)
class InputNames:
    """The names of two arrays in a batch of model inputs: the sequences, such as token ids, and their attention mask."""

    sequence: str | None = None
    """Name of an array of shape (rows, positions), such as token ids; None if the inputs of the model are no sequences."""
    mask: str | None = None
    """Name of the array of the same shape that is 1 for input and 0 for padding; None if nothing is padded."""


@dataclass(slots=True)
class Targets:
    """The expected values with which the loss compares the model's outputs."""

    values: list[NDArray[Any]]
    """One array per feature (model input): one target, or one target per token."""
    weights: NDArray[np.float32] | None = None
    """Weight of each feature in the loss; None gives all the same weight."""


@dataclass(frozen=True, slots=True)
class Note:
    """Reports how many values one step of data preparation dropped or changed, with a few examples; the rows of the values are kept."""

    where: str
    """The name of the task, cleaner or augmenter that dropped or changed the values."""
    what: str
    """What happened, as the end of the sentence `200 of 600 …`, for example `spans overlap a longer one and were dropped`."""
    count: int
    """Number of values that were dropped or changed."""
    of: int
    """Number of values that were examined."""
    examples: tuple[Mapping[str, Any], ...] = ()
    """Up to `MAX_EXAMPLES` of the values, each with `file`, `row` (from 1) and `value`, as JSON values."""

    @property
    def sentence(self) -> str:
        """The note as a sentence, such as `tag: 200 of 600 spans overlap a longer one and were dropped.`"""
        return f"{self.where}: {self.count:,} of {self.of:,} {self.what if self.count != 1 else _of_one(self.what)}."

    def as_json(self) -> dict[str, Any]:
        """Return the note as a dict of JSON values; `Note(**value)` rebuilds the note."""
        return {**asdict(self), "examples": [dict(example) for example in self.examples]}


_OF_ONE = {"were": "was", "are": "is", "have": "has", "overlap": "overlaps", "contain": "contains", "their": "its", "them": "it"}
_SEVERAL = re.compile(rf"(?<!which )\b({'|'.join(_OF_ONE)})\b")


def _of_one(what: str) -> str:
    """Return what happened to several values as it is said of one of them; a reason or list after a colon stays as it is."""
    said, colon, rest = what.partition(":")
    return _SEVERAL.sub(lambda found: _OF_ONE[found[1]], said) + colon + rest


MAX_EXAMPLES = 5
"""Maximum number of examples in a `Note`."""


SHOWN = 200
"""Maximum number of characters of a text, and of entries of a list, in an example of a note."""


def shortened(text: str) -> str:
    """Return a text as the examples of notes quote it: cut if it is long."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


@dataclass(slots=True)
class Cleaned:
    """The result of cleaning a data frame: the rows that remain, the rejected rows, and notes on changes in the rows that remain."""

    frame: Any
    """The rows that remain, as a Polars frame; after the task has cleaned it, its columns have the types that the task defines."""
    rejected: list[dict[str, Any]] = field(default_factory=list)
    """A mapping `{"file": …, "row": …, "reason": …, "values": …}` for each row that was dropped; `row` counts from 1."""
    notes: list[Note] = field(default_factory=list)
    """Summaries of the values that were dropped or changed in the rows that remain."""


def texts(records: Sequence[Record], name: str) -> list[str]:
    """Return, for each record, the value of the field `name` as a text; the text is empty if the record has no value."""
    return [str(record.get(name) or "") for record in records]


ROUNDING = 1e-4
"""Two numbers in answers count as equal up to this difference (relative above 1), because rounding depends on the batch."""


def equal_values(one: Any, other: Any) -> bool:
    """Return whether two answers, or two values in answers, are equal apart from rounding.

    Two floats count as equal if they differ by at most `ROUNDING`, or by at most `ROUNDING` times `one` if `one` is greater than 1.
    Lists and mappings are compared item by item.
    """
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(equal_values(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return isinstance(other, (list, tuple)) and len(one) == len(other) and all(map(equal_values, one, other))
    if isinstance(one, float):
        return isinstance(other, (int, float)) and abs(one - other) <= ROUNDING * max(1.0, abs(one))
    return bool(one == other)
