"""The table of a labelling project: the records that can be labelled, each once, and the answers that it contains already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertune.core.columns import named, only, without
from vertune.core.errors import DataError
from vertune.core.kinds import Source, Task
from vertune.core.records import Note
from vertune.data.chain import ChainLog
from vertune.data.fields import map_fields
from vertune.data.validate import labels_in

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that can be labelled."""

    frame: pl.DataFrame
    task: Task
    targets: Mapping[int, dict[str, Any]]
    """The answers that the table contains and the task accepts, by the places of their rows in the frame."""

    @classmethod
    def read(cls, source: Source, fields: Mapping[str, str | list[str]], task: Task, log: ChainLog) -> Table:
        """Read the rows; what is left out is added to the log. Raises DataError if no row can be used."""
        frame = _usable(source, fields, task, log)
        return cls(frame, task, _targets(frame, task, log))

    def __len__(self) -> int:
        return self.frame.height

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records without their answers, in the order of their places."""
        yield from only(self.frame, _inputs(self.frame, self.task)).iter_rows(named=True)

    def labels(self) -> list[str]:
        """Return the labels of the answers, the most frequent first."""
        counts = Counter(label for target in self.targets.values() for label in labels_in(self.task, target))
        return [name for name, _ in counts.most_common()]

    def origin(self, place: int) -> dict[str, Any]:
        """Return the file and the row that a record was read from."""
        row = self.frame.row(place, named=True)
        return {"file": row["__file"], "row": row["__row"]}


def _usable(source: Source, fields: Mapping[str, str | list[str]], task: Task, log: ChainLog) -> pl.DataFrame:
    """Return the rows whose inputs the task can read, each once, with all columns of the task that the table has."""
    import polars as pl

    frame = map_fields(source.read(), fields, task, targets=False).frame.with_row_index("__place")
    log.read = frame.height
    unread = frame.filter(pl.col("__error").is_not_null())
    log.reject(
        "read",
        [{"file": row["__file"], "row": row["__row"], "reason": row["__error"], "values": {}} for row in unread.iter_rows(named=True)],
        log.read,
    )
    frame = frame.filter(pl.col("__error").is_null()).drop("__error")
    given = _given(frame, task)
    usable = log.take(task.clean(without(frame, given)), task.name, frame.height)
    usable = usable.join(only(frame, ["__place", *given]), on="__place", maintain_order="left")
    if given:  # of equal records, one with an answer stays
        usable = usable.sort(pl.any_horizontal(named(name).is_null() for name in given), "__place")
    distinct = usable.unique(subset=_inputs(usable, task), keep="first", maintain_order=True).sort("__place").drop("__place")
    if distinct.height < usable.height:
        log.note(Note("duplicates", "rows are equal to another one and were left out", usable.height - distinct.height, log.read))
    if distinct.is_empty():
        raise DataError("No row of the table can be labelled. Check which column contains the text, and name it: `fields: {text: COLUMN}`.")
    return distinct.with_row_index("__place")


def _targets(frame: pl.DataFrame, task: Task, log: ChainLog) -> dict[int, dict[str, Any]]:
    """Return the answers that the table contains and the task accepts, by the places of their rows in the frame."""
    import polars as pl

    given = _given(frame, task)
    if not given:
        return {}
    blank = [named(name) == "" for name in given if frame[name].dtype == pl.String]
    answered = frame.filter(pl.all_horizontal(named(name).is_not_null() for name in given) & ~pl.any_horizontal(pl.lit(False), *blank))
    if answered.is_empty():
        return {}
    cleaned = log.take(task.resolve(answered).clean(answered), "answers in the table", answered.height)
    return {row["__place"]: {name: row[name] for name in given} for row in cleaned.iter_rows(named=True)}


def _given(frame: pl.DataFrame, task: Task) -> list[str]:
    """Return the names of the target fields that the table has."""
    return [column.name for column in task.target_columns if column.name in frame.columns]


def _inputs(frame: pl.DataFrame, task: Task) -> list[str]:
    """Return the names of the other fields of the task that the table has."""
    return [column.name for column in task.columns if column.role != "target" and column.name in frame.columns]
