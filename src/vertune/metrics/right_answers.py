"""The right answer of each labelled record: what a reviewer decided, else the consensus of the annotators; independent of tasks.

This is the only place where labels of several annotators become one answer, for files, for training and for reviewers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

from vertune.core.records import Column, TargetType
from vertune.metrics.consensus import majority, most_probable

Rule = Literal["majority", "dawid_skene"]
"""How the labels of several annotators become one answer."""


class Judged(Protocol):
    """A record with what people said of it."""

    @property
    def votes(self) -> Mapping[str, Mapping[str, Any]]:
        """The target fields that each annotator gave who has finished, by the annotator."""

    @property
    def decided(self) -> Mapping[str, Any] | None:
        """The target fields on which a reviewer decided."""

    @property
    def rejected(self) -> bool:
        """Whether an annotator said that the record can't be labelled."""


_T = TypeVar("_T", bound=Judged)


def right_answers(records: Iterable[_T], columns: Sequence[Column], rule: Rule) -> Iterator[tuple[_T, dict[str, Any] | None]]:
    """Yield each record with its right answer: the decision of a reviewer, else what the rule makes of the labels of the annotators.

    `columns` are the target fields. The answer is None if the annotators are undecided, or if nobody labelled the record or one rejected
    it and no reviewer decided. With the rule `dawid_skene`, all records are held in memory at the same time.
    """
    if rule == "majority":
        for one in records:
            yield one, _answer(one, [majority([_values(one, column)], _type(column))[0] for column in columns], columns)
        return
    listed = list(records)
    for one, values in zip(listed, zip(*(probable_values(listed, column) for column in columns), strict=True), strict=True):
        yield one, _answer(one, [None if value is None else value[0] for value in values], columns)


def probable_values(records: Sequence[Judged], column: Column) -> list[tuple[Any, float] | None]:
    """Return the most probable value of a target field of each record with its probability (Dawid and Skene); decisions count as known."""
    known = {place: one.decided[column.name] for place, one in enumerate(records) if one.decided and column.name in one.decided}
    return most_probable([_values(one, column) for one in records], _type(column), known)


def _values(record: Judged, column: Column) -> dict[str, Any]:
    """Return what each annotator says of a target field."""
    return {name: target[column.name] for name, target in record.votes.items() if target.get(column.name) is not None}


def _answer(record: Judged, values: Sequence[Any], columns: Sequence[Column]) -> dict[str, Any] | None:
    if record.decided is not None:
        return dict(record.decided)
    if record.rejected or any(value is None for value in values):
        return None
    return {column.name: value for column, value in zip(columns, values, strict=True)}


def _type(column: Column) -> TargetType:
    return column.type  # type: ignore[return-value]  # a target field has a type of targets
