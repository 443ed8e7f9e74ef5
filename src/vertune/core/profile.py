"""Descriptions of the columns of a table, from which each task guesses whether, and from which columns, it could read the table.

Independent of how the descriptions are measured (see `vertune.data.profile`), and of the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vertune.core.numerals import Decimal

Kind = Literal["text", "category", "number", "labels", "flags", "spans", "answers", "date", "id", "other"]
Role = Literal["label", "number", "text", "reply", "reference", "meta", "id"]


SPLIT_WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "训练集", "训练"),
    "validation": ("validation", "valid", "devel", "development", "dev", "val", "验证集", "验证", "开发集"),
    "test": ("test", "testing", "测试集", "测试"),
}
"""For each split, the words that usually name it in a column and in the names of files."""


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What a column of a table seems to contain, measured on its values and its name."""

    name: str
    kind: Kind
    """`text`: running text. `category`: one of several words or whole numbers. `number`: a quantity. `labels`: several words per row.
    `flags`: only 0 and 1. `spans`: labelled parts of a text. `answers`: parts of a text that answer a question. `date`: a day or time.
    `id`: a value that identifies the row. `other`: anything else."""
    filled: int
    """Number of rows with a value."""
    unique: int
    """Number of distinct values; for lists, of their items."""
    length: float
    """Mean number of characters per value."""
    description: str
    """The content in words, for a comment in a config."""
    roles: Mapping[Role, float] = field(default_factory=dict)
    """What the name of the column suggests, from 0 (nothing) to 1 (the usual name of such a column)."""
    last: bool = False
    """Whether it is the last column of the table, which is often the label."""
    separator: str | None = None
    """The text between the labels of a cell, for the kind `labels`; None if the cells are lists."""
    decimal: Decimal = "point"
    """The decimal mark of the numbers, for the kind `number`."""
    whole: bool = False
    """Whether all values are whole numbers."""
    marks: bool = False
    """Whether the values only say whether something applies: the kind `flags`, or words such as yes and no."""

    def role(self, *names: Role) -> float:
        """Return how strongly the name of the column suggests one of these roles, from 0 to 1."""
        return max((self.roles.get(name, 0.0) for name in names), default=0.0)

    @property
    def repeats(self) -> float:
        """The mean number of rows per distinct value; 1 if no value occurs twice."""
        return self.filled / max(1, self.unique)


@dataclass(frozen=True, slots=True)
class TableProfile:
    """The columns of a table, and the columns that the user requested."""

    columns: tuple[ColumnProfile, ...]
    rows: int
    texts: tuple[str, ...] = ()
    """Names of the columns that the user requested as texts; empty if they are to be guessed."""
    label: str | None = None
    """Name of the column that the user requested as the label; None if it is to be guessed."""

    def of(self, *kinds: Kind) -> list[ColumnProfile]:
        """Return the columns of these kinds, in the order of the table."""
        return [column for column in self.columns if column.kind in kinds]

    def named(self, *names: str) -> list[ColumnProfile]:
        """Return the columns with these names, in the order of `names`; upper and lower case, `_`, `-` and blanks count as equal."""
        by_name = {simple(column.name): column for column in self.columns}
        return [by_name[simple(name)] for name in names if simple(name) in by_name]

    def targets(self, *kinds: Kind) -> list[ColumnProfile]:
        """Return the columns that may contain the expected answer: the requested label if there is one, else all of these kinds."""
        if self.label is not None:
            return [column for column in self.columns if column.name == self.label]
        return [column for column in self.of(*kinds) if column.name not in self.texts]

    def without(self, *taken: ColumnProfile) -> TableProfile:
        """Return a copy without these columns."""
        return replace(self, columns=tuple(column for column in self.columns if column not in taken))


@dataclass(slots=True)
class Guess:
    """How a task could read a table: the column or columns of each field, and how likely it is that this task is meant."""

    score: float
    """The larger, the likelier: about 0.3 if only the values suit the task, about 1 if the names do too, and more than 1 for values
    that only this task reads, such as labelled spans."""
    fields: dict[str, list[str]]
    """The columns that each field of the task is read from; several columns are joined into one text, or form one list of labels."""
    reasons: dict[str, str]
    """The reason for the columns of each field, by the field's name, and for the task, by `task`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the task that the columns need, such as `inputs`."""


def simple(name: str) -> str:
    """Return the name of a column in the form in which names are compared: lower case, single `_` between words."""
    return "_".join(name.replace("-", " ").replace("_", " ").casefold().split())
